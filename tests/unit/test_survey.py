"""What a host says of its servers, and which of them is taken into the fleet."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dbmod import errors, survey
from dbmod.survey import Asked, Machine, Server, Survey

MACHINE = Machine(
    memory_mib=2000, vcpus=2, volume_gb=20, system="debian 12", python="3.11.2", host_keys=("ssh-ed25519 " + "A" * 68,)
)
REDIS = Server(
    program="/usr/bin/redis-server",
    version="Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64",
    listeners=(("127.0.0.1", 6379), ("::1", 6379)),
    port=6379,
    unit="redis-server.service",
    is_managed=False,
    directory="/var/lib/redis",
)
MARIADB = Server(
    program="/usr/sbin/mariadbd",
    version="mariadbd  Ver 10.11.6-MariaDB for debian-linux-gnu on x86_64",
    listeners=(("0.0.0.0", 3306),),
    port=0,
    unit="mariadb.service",
    is_managed=False,
    directory="/var/lib/mysql",
)


def said(*servers: Server, **changes: Any) -> Survey:
    known = Survey(machine=MACHINE, servers=servers, usual_answers=(), is_root=True)
    return msgspec.structs.replace(known, **changes)


def like(server: Server, **changes: Any) -> Server:
    return msgspec.structs.replace(server, **changes)


def test_only_server_is_taken_with_what_its_machine_has() -> None:
    facts, note = survey.interpret(said(REDIS), Asked(datastore="redis"))
    assert note == ""
    assert facts == {
        "datastore_version": "7.0.15",
        "host_keys": list(MACHINE.host_keys),
        "port": 6379,
        "ram_mib": 2000,
        "vcpus": 2,
        "volume_gb": 20,
        "restart_command": ("systemctl", "restart", "redis-server.service"),
        "provider_facts": {"listens_on": "127.0.0.1", "system": "debian 12", "python": "3.11.2"},
    }


@pytest.mark.parametrize(
    ("listeners", "spoken", "port"),
    [
        ([("127.0.0.1", 6379), ("127.0.0.1", 16379)], 6379, 6379),  # with the bus of a Redis Cluster
        ([("10.0.0.5", 7000), ("10.0.0.5", 17000)], 0, 7000),
        ([("0.0.0.0", 26380)], 0, 26380),
    ],
)
def test_port_is_the_one_for_clients(listeners: list[tuple[str, int]], spoken: int, port: int) -> None:
    server = like(REDIS, listeners=tuple(listeners), port=spoken)
    facts, _ = survey.interpret(said(server), Asked(datastore="redis"))
    assert facts["port"] == port


def test_member_of_galera_is_reached_at_its_own_port() -> None:
    server = like(MARIADB, listeners=(("0.0.0.0", 3307), ("0.0.0.0", 4567)))
    facts, _ = survey.interpret(said(server), Asked(datastore="mysql"))
    assert (facts["port"], facts["provider_facts"]["listens_on"]) == (3307, "127.0.0.1")


def test_address_is_one_at_which_the_server_answers() -> None:
    server = like(MARIADB, listeners=(("10.0.0.5", 3306),))
    facts, _ = survey.interpret(said(server), Asked(datastore="mysql"))
    assert facts["provider_facts"]["listens_on"] == "10.0.0.5"


def test_several_servers_are_told_apart_by_the_port() -> None:
    second = like(MARIADB, listeners=(("0.0.0.0", 3307),), unit="mariadb@second.service")
    with pytest.raises(errors.Refused, match="2 servers run there, on the ports 3306, 3307"):
        survey.interpret(said(MARIADB, second), Asked(datastore="mysql"))
    facts, _ = survey.interpret(said(MARIADB, second), Asked(datastore="mysql", port=3307))
    assert facts["restart_command"] == ("systemctl", "restart", "mariadb@second.service")
    with pytest.raises(errors.Refused, match="no mysql listens on port 3308 there"):
        survey.interpret(said(MARIADB, second), Asked(datastore="mysql", port=3308))


def test_ordinary_user_sees_less_and_is_told_what_to_do() -> None:
    hidden = like(MARIADB, listeners=None)
    facts, _ = survey.interpret(said(hidden, usual_answers=("127.0.0.1",), is_root=False), Asked(datastore="mysql"))
    assert facts["port"] == 3306
    with pytest.raises(errors.Refused, match="its port cannot be seen") as refused:
        survey.interpret(said(hidden, is_root=False), Asked(datastore="mysql"))
    assert refused.value.next_step.endswith("--become")
    asked = Asked(datastore="mysql", port=3307)
    facts, _ = survey.interpret(said(hidden, usual_answers=("::1",), is_root=False), asked)
    assert (facts["port"], facts["provider_facts"]["listens_on"]) == (3307, "::1")


@pytest.mark.parametrize(
    ("server", "what"),
    [
        (like(REDIS, listeners=()), "it listens on no TCP port"),
        (like(REDIS, version="Segmentation fault"), "its version is not known"),
    ],
)
def test_what_cannot_be_used_is_refused(server: Server, what: str) -> None:
    with pytest.raises(errors.Refused, match=what):
        survey.interpret(said(server), Asked(datastore="redis"))


def test_nothing_there_is_refused() -> None:
    with pytest.raises(errors.Refused, match="no redis runs there"):
        survey.interpret(said(), Asked(datastore="redis"))


def test_host_keys_of_no_known_form_are_no_keys() -> None:
    machine = msgspec.structs.replace(MACHINE, host_keys=("ssh-ed25519 {{ lookup('pipe','id') }}",))
    with pytest.raises(errors.Refused, match="its host keys are not in /etc/ssh"):
        survey.interpret(said(REDIS, machine=machine), Asked(datastore="redis"))


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"is_managed": True, "unit": "patroni.service"}, "Patroni manages it"),
        ({"unit": ""}, "it belongs to no systemd unit"),
        ({"unit": r"odd\x2dunit.service"}, "it belongs to no systemd unit"),
    ],
)
def test_restart_command_is_never_guessed(changes: dict[str, Any], note: str) -> None:
    facts, told = survey.interpret(said(like(REDIS, **changes)), Asked(datastore="redis"))
    assert (facts["restart_command"], told.startswith(note)) == ((), True)
    given = Asked(datastore="redis", restart_command=("patronictl", "restart", "main"))
    facts, told = survey.interpret(said(like(REDIS, **changes)), given)
    assert (facts["restart_command"], told) == (("patronictl", "restart", "main"), "")


@pytest.mark.parametrize("words", ["a; b", "$(id)", "{{ x }}", "a 'b c'", "a b{", 'a "', ["a", "b c"], "a|b", "a>b"])
def test_restart_command_holds_nothing_that_a_shell_or_a_template_reads(words: Any) -> None:
    with pytest.raises(errors.BadInput):
        survey.restart_words(words)


def test_restart_command_is_text_or_list() -> None:
    wanted = ("systemctl", "restart", "mysqld@3307.service")
    assert survey.restart_words("systemctl restart mysqld@3307.service") == wanted
    assert survey.restart_words(list(wanted)) == wanted
    assert survey.restart_words("") == ()


def test_command_counts_more_than_the_inventory() -> None:
    variables = {"dbmod_port": "3307", "dbmod_restart_command": ["a", "b"]}
    asked = survey.read_asked({"datastore": "mysql", "port": 0, "restart_command": []}, variables.get)
    assert asked == Asked(datastore="mysql", port=3307, restart_command=("a", "b"))
    asked = survey.read_asked({"datastore": "mysql", "port": 1, "restart_command": ["c"]}, variables.get)
    assert asked == Asked(datastore="mysql", port=1, restart_command=("c",))
    with pytest.raises(errors.BadInput, match="dbmod_port is no port"):
        survey.read_asked({"datastore": "mysql"}, {"dbmod_port": "{{ x }}"}.get)


@pytest.mark.parametrize("line", ["", "dbmod-survey ", "dbmod-survey {}", "dbmod-survey " + "[" * 10000, "noise"])
def test_what_is_no_survey_is_none(line: str) -> None:
    assert survey.read_answer(f"motd\n{line}\n") is None


def looked() -> tuple[Survey, dict[str, Any]]:
    """Let the host's side look at this machine; give what it says, and what it was asked."""
    asked = Asked(datastore="redis", port=1)
    _, _, request = survey.frame(asked).partition(survey.SOURCE.read_bytes())
    ended = subprocess.run(
        [sys.executable, "-IS", str(survey.SOURCE)], input=request, capture_output=True, check=True, timeout=60
    )
    found = survey.read_answer(ended.stdout.decode())
    assert found is not None
    return found, json.loads(request)


def test_host_side_looks_at_this_machine_and_answers_in_that_form() -> None:
    found, request = looked()
    assert found.machine.memory_mib > 0
    assert found.usual_answers == ()
    assert request["usual_port"] == 6379


@pytest.fixture
def place_for_all() -> Iterator[Path]:
    """A directory that other users may enter."""
    with tempfile.TemporaryDirectory(prefix="dbmod-survey-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.root
@pytest.mark.parametrize(("uid", "reply"), [(61234, "61234"), (0, "0")])
def test_no_program_of_another_user_is_run_as_root(place_for_all: Path, uid: int, reply: str) -> None:
    """Whoever may start a process on a host can call it redis-server, and put another program in its place."""
    folder = place_for_all / "own"
    folder.mkdir()
    program = folder / "redis-server"
    shutil.copy(shutil.which("sleep") or "", program)
    os.chown(folder, uid, uid)
    os.chown(program, uid, uid)
    process = subprocess.Popen([str(program), "60"], user=uid, group=uid, extra_groups=[])
    try:
        program.unlink()
        program.write_text("#!/bin/sh\necho v=1.0 of $(id -u), $(id -G)\nwhile :; do echo; done\n")
        program.chmod(0o755)
        os.chown(program, uid, uid)
        found, _ = looked()
        [server] = [one for one in found.servers if one.program == str(program)]
        assert server.version.split("\n")[0] == f"v=1.0 of {reply}, {reply}"
        assert len(server.version) <= 1000
    finally:
        process.kill()
        process.wait()


@pytest.mark.root
def test_a_program_of_another_user_that_runs_as_root_is_asked_nothing(place_for_all: Path) -> None:
    program = place_for_all / "redis-server"
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([str(program), "60"])
    try:
        os.chown(program, 61234, 61234)
        found, _ = looked()
        assert [one.version for one in found.servers if one.program == str(program)] == [""]
    finally:
        process.kill()
        process.wait()
