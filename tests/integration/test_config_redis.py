"""The type config on a real Redis: at run time, by a restart, refused, put back, overridden, removed."""

import os
import shlex
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dbmod import config, fleet, local_servers, module_types, providers
from dbmod.hostside import dbmod_dropin
from dbmod.hostside import dbmod_kit as kit
from tests import local_fleet
from tests.config_modules import Configured, watched
from tests.faults import failpoints

pytestmark = pytest.mark.patient
CONFIG = module_types.functions(module_types.find(config.Settings(), "config"))


@pytest.fixture(scope="module")
def red() -> Iterator[Configured]:
    with local_fleet.opened() as opened:
        yield Configured(opened, opened.create("red", "redis"))


def _get(red: Configured, name: str) -> str:
    return red.fleet.client(red.instance, f"CONFIG GET {name}").split()[1]


def _let_rewrite(settings: Path, red: Configured) -> bytes:
    """Let the server rewrite its configuration, as those of Debian's package may."""
    place = local_fleet.place(red.instance)
    if place.uid is not None:
        for path in (settings.parent, settings):
            os.chown(path, place.uid, place.gid or -1)
    return settings.read_bytes()


def test_setting_is_changed_at_run_time_and_comes_back(red: Configured) -> None:
    pid, files = red.pid(), red.files()
    state, message, changed = red.apply("policy", "maxmemory-policy allkeys-lru\nmaxmemory @memory_mib*0.5@mb\n")
    assert (state, changed) == ("ok", True), message
    assert message.startswith("settings ")
    assert message.endswith(" in effect")
    assert (_get(red, "maxmemory-policy"), _get(red, "maxmemory")) == ("allkeys-lru", str(256 << 20))
    assert red.again("policy") == ("ok", message, False)
    red.fleet.client(red.instance, "CONFIG SET maxmemory 100mb")
    assert "overridden: maxmemory" in red.query()
    assert red.again("policy") == ("ok", message, True)
    assert _get(red, "maxmemory") == str(256 << 20)
    assert "overridden" not in red.query()
    assert red.pid() == pid
    assert red.remove("policy") == ("ok", "settings removed", True)
    assert (_get(red, "maxmemory-policy"), _get(red, "maxmemory")) == ("noeviction", str(384 << 20))
    assert (red.pid(), red.files()) == (pid, files)


def test_what_needs_a_restart_gets_one_and_survives_it(red: Configured, figure: Callable[[str, str], None]) -> None:
    pid = red.pid()
    port = red.instance.port or 0
    with watched(lambda: local_servers.is_listening("127.0.0.1", port)) as down:
        state, message, changed = red.apply("databases", "databases 20\ntcp-backlog 64\n")
    assert (state, changed) == ("ok", True), message
    assert red.pid() != pid
    assert (_get(red, "databases"), _get(red, "tcp-backlog")) == ("20", "64")
    figure("config", f"Redis restarted for a setting: {down[0]:.2f} s without an answer")
    pid = red.pid()
    assert red.again("databases") == ("ok", message, False)
    assert red.pid() == pid


def test_bad_setting_is_never_live(red: Configured) -> None:
    pid, files = red.pid(), red.files()
    state, message, _ = red.apply("bad", "maxmemory-policy no-such-policy\n")
    assert state == "error"
    assert message.startswith("line 1 (maxmemory-policy): ")
    assert "no-such-policy" not in message
    state, message, _ = red.apply("bad", "no-such-setting yes\n")
    assert (state, message[:26]) == ("error", "line 1 (no-such-setting): "), message
    assert (red.pid(), red.files()) == (pid, files)


def test_server_that_does_not_come_up_gets_the_old_settings_back(red: Configured) -> None:
    red.fleet.client(red.instance, "-n 15 SET kept yes")
    red.fleet.client(
        red.instance, "BGREWRITEAOF"
    )  # with its data in a snapshot, it does not start with fewer databases
    while "aof_rewrite_in_progress:1" in red.fleet.client(red.instance, "INFO persistence"):
        time.sleep(0.1)
    files = red.files()
    state, message, _ = red.apply("databases", "databases 2\n")
    assert state == "error"
    assert "did not come up, the old settings are back and it is up; refused with" in message
    assert "databases" in message
    assert red.files() == files
    assert red.fleet.client(red.instance, "-n 15 GET kept") == "yes\n"
    assert _get(red, "databases") == "20"


def test_restart_is_left_to_the_user_where_the_contents_say_so(red: Configured) -> None:
    pid = red.pid()
    state, message, changed = red.apply("databases", "# dbmod: no-restart\ndatabases 18\nmaxclients 900\n")
    assert (state, changed) == ("ok", True), message
    assert message.endswith(" in effect, pending restart: databases, tcp-backlog")  # which it had before
    assert (red.pid(), _get(red, "databases"), _get(red, "maxclients")) == (pid, "20", "900")
    assert red.again("databases") == ("ok", message, False)
    assert "overridden" not in red.query()
    assert red.seen("databases") == ("in sync", "pending restart: databases, tcp-backlog")
    assert red.fleet.carry_out(fleet.plan_restart(red.fleet.context, red.instance.name)).state == "done"
    assert red.seen("databases") == ("in sync", "")
    assert red.remove("databases")[1].startswith("settings removed")


@pytest.mark.nightly
def test_what_config_rewrite_keeps_is_named(red: Configured) -> None:
    settings = red.directory.parent / "redis.conf"
    before = _let_rewrite(settings, red)
    state, message, _ = red.apply("kept", "slowlog-max-len 90\nmaxclients 900\n")
    red.fleet.client(red.instance, "CONFIG REWRITE")
    written = settings.read_text()
    assert written.index("\nmaxclients 900\n") < written.rindex("\ninclude") < written.index("\nslowlog-max-len 90\n")
    assert (state, "overridden" in red.query()) == ("ok", False), message
    red.fleet.client(red.instance, "CONFIG SET slowlog-max-len 80")
    red.fleet.client(red.instance, "CONFIG REWRITE")
    assert red.query() == f"drifted: overridden by {settings}: slowlog-max-len"
    later = f"overridden at its next start by {settings}: slowlog-max-len"
    assert red.again("kept") == ("ok", f"{message}, {later}", True)
    assert (_get(red, "slowlog-max-len"), red.query()) == ("90", f"drifted: {later}")
    assert red.again("kept") == ("ok", f"{message}, {later}", False)
    red.restart()
    assert red.query() == f"drifted: overridden by {settings}: slowlog-max-len"
    state, message, _ = red.apply("kept", "databases 20\nslowlog-max-len 70\nmaxclients 900\n")  # restarts
    assert (state, _get(red, "databases"), _get(red, "slowlog-max-len")) == ("ok", "20", "70"), message
    assert message.endswith(f" in effect, {later}")
    assert red.again("kept") == ("ok", message, False)
    kept = f"still set by {settings}: maxclients, slowlog-max-len"  # it was restarted without databases
    assert red.remove("kept")[1] == f"settings removed, {kept}"
    settings.write_bytes(before)
    red.restart()


def test_line_behind_the_include_restarts_nothing(red: Configured) -> None:
    settings = red.directory.parent / "redis.conf"
    before = settings.read_bytes()
    settings.write_bytes(before + b"databases 18\nsave 900 1\n")
    red.restart()
    pid = red.pid()
    state, message, changed = red.apply("behind", 'databases 20\nsave ""\n')
    assert (state, changed, red.pid(), _get(red, "databases")) == ("ok", True, pid, "18"), message
    places = f"overridden by {settings}: databases, at its next start: save"
    assert message.endswith(f" written, {places}")
    assert red.again("behind") == ("ok", message, False)
    assert (red.query(), red.pid()) == (f"drifted: {places}", pid)
    settings.write_bytes(before)
    state, message, changed = red.again("behind")
    assert (state, changed, _get(red, "databases")) == ("ok", True, "20"), message
    red.remove("behind")


def test_two_modules_live_side_by_side(red: Configured) -> None:
    red.apply("one", "hz 20\n")
    red.apply("two", "slowlog-max-len 77\n")
    assert (_get(red, "hz"), _get(red, "slowlog-max-len")) == ("20", "77")
    red.remove("one")
    assert (_get(red, "hz"), _get(red, "slowlog-max-len")) == ("10", "77")
    red.remove("two")


def test_server_that_does_not_include_them_is_named_the_line(red: Configured) -> None:
    settings = red.directory.parent / "redis.conf"
    before = settings.read_text()
    settings.write_text(before.replace("include", "# include"))
    state, message, _ = red.apply("lost", "hz 20\n")
    settings.write_text(before)
    line = f'include "{red.directory}/index.conf"'
    assert (state, message) == ("error", f"{settings} does not include dbmod's settings: add at its end: {line}")


@pytest.fixture
def facts(red: Configured, tmp_path: Path) -> dict[str, object]:
    """What the type itself is told of the server, for a module of its own."""
    place = local_fleet.place(red.instance)
    known: dict[str, object] = {"instance": red.instance.id, "datastore": "redis", "module": "m", "port": place.port}
    return {**known, "address": place.address, "directory": str(place.directory), "home": str(tmp_path)}


def test_a_version_that_was_cut_off_takes_back_what_it_no_longer_sets(
    red: Configured, facts: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _get(red, "maxmemory-policy"), _get(red, "hz")
    CONFIG.apply(b"maxmemory-policy allkeys-lru\n", kit.Host(facts))

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(dbmod_dropin, "place", cut_off)
        CONFIG.apply(b"hz 33\n", kit.Host(facts))
    CONFIG.apply(b"hz 33\n", kit.Host(facts, unfinished=True))
    assert (_get(red, "maxmemory-policy"), _get(red, "hz")) == (before[0], "33")
    CONFIG.remove(b"hz 33\n", kit.Host(facts))
    assert (_get(red, "maxmemory-policy"), _get(red, "hz")) == before


def test_a_restart_that_hangs_leaves_the_time_to_put_the_old_settings_back(
    red: Configured, facts: dict[str, object], tmp_path: Path
) -> None:
    files = red.files()
    hang_once = f"! mkdir {tmp_path}/asked 2>/dev/null || sleep 60"
    host = kit.Host({**facts, "restart_command": ["sh", "-c", hang_once], "limit_seconds": 6})
    with pytest.raises(kit.Refused, match=r"the old settings are back and it is up; .*timed out after"):
        CONFIG.apply(b"databases 19\n", host)
    assert time.monotonic() < host.deadline
    assert red.files() == files


def test_a_server_that_dies_while_it_is_set_is_named(red: Configured, facts: dict[str, object]) -> None:
    settings, files = red.directory.parent / "redis.conf", red.files()
    before = settings.read_bytes()
    settings.write_bytes(before + b"slowlog-max-len 128\n")  # a line to look at, between writing and setting

    def kill_once_written() -> None:
        deadline = time.monotonic() + 60
        while not (red.directory / "dbmod-m.conf").exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(red.pid(), signal.SIGKILL)

    gone = "Redis does not answer any more; the settings are written, apply them again once it answers"
    with ThreadPoolExecutor() as pool:
        pool.submit(kill_once_written)
        with pytest.raises(kit.Refused, match=gone):
            CONFIG.apply(b"hz 20\nslowlog-max-len 90\n", kit.Host(facts))
    settings.write_bytes(before)
    red.restart()
    assert _get(red, "hz") == "20"
    CONFIG.apply(b"hz 20\nslowlog-max-len 90\n", kit.Host(facts, unfinished=True))
    CONFIG.remove(b"hz 20\nslowlog-max-len 90\n", kit.Host(facts))
    assert (red.files(), _get(red, "slowlog-max-len")) == (files, "128")


@pytest.mark.nightly
def test_a_server_that_lets_us_in_no_more_gets_the_old_settings_back(red: Configured, facts: dict[str, object]) -> None:
    files, directory = red.files(), str(facts["directory"])
    words = shlex.join(providers.restart_command("local", directory=directory, unit=""))
    host = kit.Host({**facts, "restart_command": ["sh", "-c", f"{words}; true"]})  # it starts, as systemd sees it
    with pytest.raises(kit.Refused, match=r"settings are back and it is up; refused with .*: Redis lets nobody in "):
        CONFIG.apply(b'rename-command AUTH ""\n', host)
    assert (red.files(), red.fleet.client(red.instance, "PING")) == (files, "PONG\n")


def test_a_replica_without_its_primary_is_set_as_any(red: Configured, facts: dict[str, object]) -> None:
    red.fleet.client(red.instance, "CONFIG SET replica-serve-stale-data no")
    red.fleet.client(red.instance, "REPLICAOF 127.0.0.1 1")
    assert red.fleet.client(red.instance, "PING").startswith("MASTERDOWN ")
    assert CONFIG.apply(b"hz 20\n", kit.Host(facts)).message.endswith(" in effect")
    assert _get(red, "hz") == "20"
    CONFIG.remove(b"hz 20\n", kit.Host(facts))
    red.fleet.client(red.instance, "REPLICAOF NO ONE")
    red.fleet.client(red.instance, "CONFIG SET replica-serve-stale-data yes")


def test_a_server_that_runs_a_script_is_not_said_to_refuse_the_password(
    red: Configured, facts: dict[str, object]
) -> None:
    red.fleet.client(red.instance, "CONFIG SET busy-reply-threshold 10")
    with ThreadPoolExecutor() as pool:
        pool.submit(red.fleet.client, red.instance, "EVAL 'while true do end' 0")
        failpoints.until(lambda: red.fleet.client(red.instance, "PING"), lambda said: said.startswith("BUSY "), "it")
        with pytest.raises(kit.Busy, match=r"Redis takes no command now: Redis is busy running a script\."):
            CONFIG.apply(b"hz 20\n", kit.Host(facts))
        red.fleet.client(red.instance, "SCRIPT KILL")
    red.fleet.client(red.instance, "CONFIG SET busy-reply-threshold 5000")


def test_settings_are_tried_where_another_user_gets_in(
    red: Configured, facts: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session's TMPDIR may be its user's alone; as root, the scratch server runs as nobody."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert CONFIG.apply(b"hz 20\n", kit.Host(facts, check=True)).message.endswith(" in effect")


def test_settings_of_another_server_are_refused(red: Configured) -> None:
    state, message, _ = red.apply("other", "[mysqld]\nmax_connections = 10\n")
    assert (state, message) == ("error", "the contents are settings of mysql, and this is redis")
