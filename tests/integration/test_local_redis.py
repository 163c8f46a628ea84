"""One real Redis: made, used, killed, restarted, removed, and the ways it can fail."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbmod import building, fleet, local_servers, providers
from tests import local_fleet
from tests.local_fleet import LocalFleet

CANARY = "C4nary'\\\"$(x)"


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalFleet]:
    with local_fleet.opened() as opened:
        opened.create("red", "redis", users=(building.Account(name="bob", password=CANARY),))
        yield opened


@pytest.fixture
def empty() -> Iterator[LocalFleet]:
    with local_fleet.opened() as opened:
        yield opened


def test_create_gives_a_server_that_answers(shared: LocalFleet) -> None:
    red = shared.instance("red")
    assert (red.status, red.fault, red.address) == ("ACTIVE", "", "127.0.0.1")
    assert shared.client(red, "PING") == "PONG\n"
    assert providers.observed_status(red) == "ACTIVE"
    assert shared.client(red, "CONFIG GET maxmemory").split()[1] == str(384 << 20)
    assert "Ready to accept connections" in Path(providers.log_path(red)).read_text()


def test_server_asks_everybody_for_the_password(shared: LocalFleet) -> None:
    red = shared.instance("red")
    answer = subprocess.run(
        ["redis-cli", "-h", "127.0.0.1", "-p", str(red.port), "PING"], capture_output=True, text=True, check=False
    )
    assert "NOAUTH" in answer.stdout + answer.stderr
    password = local_fleet.place(red).directory / "etc" / "password"
    assert password.stat().st_mode & 0o777 == 0o600
    assert len(password.read_text().strip()) == 40


def test_server_listens_on_loopback_only(shared: LocalFleet) -> None:
    red = shared.instance("red")
    wanted = f":{red.port:04X}"
    listening = {
        line.split()[1]
        for name in ("tcp", "tcp6")
        for line in Path("/proc/net", name).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(wanted)
    }
    assert listening == {f"0100007F{wanted}"}


def test_server_outlives_its_playbook_and_is_nobody(shared: LocalFleet) -> None:
    red = shared.instance("red")
    [pid] = local_fleet.pids(red)
    status = Path("/proc", str(pid), "status").read_text()
    uid = int(status.split("Uid:")[1].split()[0])
    assert os.getsid(pid) == pid
    assert uid == (200000 + (red.port or 0) if os.geteuid() == 0 else os.geteuid())
    assert local_fleet.place(red).pid_file.read_text() == f"{pid}\n"
    assert b"DBMOD" not in Path("/proc", str(pid), "environ").read_bytes()


def test_user_works_with_data_but_not_with_the_server(shared: LocalFleet) -> None:
    red = shared.instance("red")
    command = ["redis-cli", "-p", str(red.port), "--no-auth-warning", "--user", "bob"]
    environment = os.environ | {"REDISCLI_AUTH": CANARY}
    said = [
        subprocess.run([*command, *words], capture_output=True, text=True, check=False, env=environment).stdout
        for words in (["SET", "who", "bob"], ["GET", "who"], ["CONFIG", "GET", "dir"])
    ]
    assert said[:2] == ["OK\n", "bob\n"]
    assert said[2].startswith("NOPERM")


def test_user_password_is_nowhere_on_disk(shared: LocalFleet) -> None:
    looked = 0
    for path in shared.settings.home_path.parent.rglob("*"):
        if path.is_file():
            looked += 1
            assert CANARY.encode() not in path.read_bytes(), path
    assert looked > 10


def test_second_configure_changes_nothing(shared: LocalFleet, tmp_path: Path) -> None:
    said = shared.configure_again(shared.instance("red"), tmp_path)
    assert "changed=0" in said, said


def test_configure_in_check_mode_changes_nothing(shared: LocalFleet, tmp_path: Path) -> None:
    settings = local_fleet.place(shared.instance("red")).directory / "etc" / "redis.conf"
    before = settings.read_text()
    settings.write_text(before + "# by hand\n")
    said = shared.configure_again(shared.instance("red"), tmp_path, "--check")
    assert "changed=1" in said, said
    assert settings.read_text() == before + "# by hand\n"
    settings.write_text(before)


def test_killed_server_is_seen_and_comes_back_with_its_data(shared: LocalFleet) -> None:
    red = shared.instance("red")
    shared.client(red, "SET kept yes")
    shared.client(red, "WAITAOF 1 0 2000" if red.datastore_version >= "7.2" else "CONFIG SET appendfsync always")
    shared.client(red, "SET kept yes")
    [pid] = local_fleet.pids(red)
    os.kill(pid, signal.SIGKILL)
    _wait_until_closed(red.port)
    assert providers.observed_status(red) == "SHUTDOWN"
    run = shared.carry_out(fleet.plan_restart(shared.context, "red"))
    assert (run.state, shared.instance("red").status) == ("done", "ACTIVE")
    assert shared.client(red, "GET kept") == "yes\n"
    assert local_fleet.pids(red) != [pid]


def test_stop_never_touches_a_foreign_process(shared: LocalFleet) -> None:
    red = shared.instance("red")
    place = local_fleet.place(red)
    stranger = subprocess.Popen(["sleep", "60"], cwd=place.data)
    try:
        place.pid_file.write_text(f"{stranger.pid}\n")
        shared.carry_out(fleet.plan_restart(shared.context, "red"))
        assert stranger.poll() is None
        assert shared.client(red, "PING") == "PONG\n"
    finally:
        stranger.kill()
        stranger.wait()


def test_frozen_server_is_stopped_by_force(empty: LocalFleet) -> None:
    red = empty.create("frozen", "redis")
    [pid] = local_fleet.pids(red)
    os.kill(pid, signal.SIGSTOP)
    assert local_servers.stop(local_fleet.place(red), local_fleet.STOPPER)
    assert local_fleet.pids(red) == []


def test_failed_start_says_why_and_can_be_deleted(empty: LocalFleet) -> None:
    planned = building.plan_create(
        empty.context, building.NewInstance(name="late", member=building.Member(flavor="15"), datastore="redis")
    )
    late = planned[0]
    with socket.create_server(("127.0.0.1", late.port or 0)):
        run = empty.carry_out(planned)
    assert run.state == "failed"
    failed = empty.instance("late")
    assert failed.status == "ERROR"
    assert f"port {late.port} of 127.0.0.1 is taken by another program" in failed.fault
    assert failed.fault.startswith("Start the server")
    assert empty.carry_out(fleet.plan_delete(empty.context, "late")).state == "done"
    assert not local_fleet.place(late).directory.exists()


def test_server_that_will_not_start_shows_its_log(empty: LocalFleet) -> None:
    red = empty.create("bad", "redis")
    settings = local_fleet.place(red).directory / "etc" / "redis.conf"
    settings.write_text(settings.read_text() + "no-such-setting yes\n")
    assert empty.carry_out(fleet.plan_restart(empty.context, "bad")).state == "failed"
    broken = empty.instance("bad")
    assert broken.status == "ERROR"
    assert "no-such-setting" in broken.fault
    assert "ended with 1 while starting" in broken.fault


def test_delete_leaves_nothing(empty: LocalFleet) -> None:
    red = empty.create("gone", "redis")
    [pid] = local_fleet.pids(red)
    assert empty.carry_out(fleet.plan_delete(empty.context, "gone")).state == "done"
    assert empty.living() == []
    assert not local_fleet.place(red).directory.exists()
    assert not Path("/proc", str(pid), "cwd").exists()


def _wait_until_closed(port: int | None) -> None:
    for _ in range(500):
        if not local_servers.is_listening("127.0.0.1", port or 0):
            return
    pytest.fail("the port is still open")
