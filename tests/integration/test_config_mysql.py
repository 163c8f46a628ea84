"""The type config on a real MariaDB: at run time, by a restart, refused, put back, overridden, removed."""

from collections.abc import Callable, Iterator

import pytest

from dbmod import config, local_servers, module_types
from dbmod.hostside import dbmod_kit as kit
from tests import local_fleet
from tests.config_modules import Configured, watched

pytestmark = [pytest.mark.patient, pytest.mark.nightly]


@pytest.fixture(scope="module")
def maria() -> Iterator[Configured]:
    with local_fleet.opened() as opened:
        yield Configured(opened, opened.create("maria", "mysql"))


def _get(maria: Configured, name: str) -> str:
    return maria.fleet.client(maria.instance, f"-BNe 'SELECT @@GLOBAL.{name}'").strip()


def test_setting_is_changed_at_run_time_and_comes_back(maria: Configured) -> None:
    pid, files, before = maria.pid(), maria.files(), _get(maria, "max_connections")
    text = "[mysqld]\nmax-connections = @memory_mib/8+6@\nsql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'\n"
    state, message, changed = maria.apply("limits", text)
    assert (state, changed) == ("ok", True), message
    assert message.endswith(" in effect")
    assert (_get(maria, "max_connections"), maria.pid()) == ("70", pid)
    assert maria.again("limits") == ("ok", message, False)
    maria.fleet.client(maria.instance, "-e 'SET GLOBAL max_connections = 33'")
    assert "overridden: max_connections" in maria.query()
    assert maria.again("limits") == ("ok", message, True)
    assert "overridden" not in maria.query()
    assert maria.remove("limits") == ("ok", "settings removed", True)
    assert (_get(maria, "max_connections"), maria.pid(), maria.files()) == (before, pid, files)


def test_what_needs_a_restart_gets_one_and_survives_it(maria: Configured, figure: Callable[[str, str], None]) -> None:
    pid = maria.pid()
    port = maria.instance.port or 0
    with watched(lambda: local_servers.is_listening("127.0.0.1", port)) as down:
        state, message, changed = maria.apply("buffer", "[mysqld]\ninnodb_log_buffer_size = 4M\nback_log = 70\n")
    assert (state, changed) == ("ok", True), message
    assert maria.pid() != pid
    assert (_get(maria, "innodb_log_buffer_size"), _get(maria, "back_log")) == (str(4 << 20), "70")
    figure("config", f"MariaDB restarted for a setting: {down[0]:.2f} s without an answer")
    pid = maria.pid()
    assert maria.again("buffer") == ("ok", message, False)
    assert maria.pid() == pid


def test_bad_setting_is_never_live(maria: Configured) -> None:
    pid, files = maria.pid(), maria.files()
    for line in ("no_such_setting = 1", "max_connections = many", "binlog_format = no-such-format"):
        state, message, _ = maria.apply("bad", f"[mysqld]\n{line}\n")
        assert (state, message[:10]) == ("error", "MariaDB or"), message
        assert "no-such-format" not in message
        assert "many" not in message
    assert (maria.pid(), maria.files()) == (pid, files)


def test_server_that_does_not_come_up_gets_the_old_settings_back(maria: Configured) -> None:
    files = maria.files()
    state, message, _ = maria.apply("buffer", "[mysqld]\ninnodb_page_size = 4k\n")
    assert state == "error"
    assert "did not come up, the old settings are back and it is up; refused with" in message
    assert "innodb_page_size" in message
    assert maria.files() == files
    assert _get(maria, "innodb_log_buffer_size") == str(4 << 20)


def test_restart_is_left_to_the_user_where_the_contents_say_so(maria: Configured) -> None:
    pid = maria.pid()
    state, message, changed = maria.apply("buffer", "# dbmod: no-restart\n[mysqld]\nback_log = 60\n")
    assert (state, changed) == ("ok", True), message
    assert "pending restart: back_log" in message
    assert (maria.pid(), _get(maria, "back_log")) == (pid, "70")
    assert maria.again("buffer") == ("ok", message, False)


def test_file_that_is_read_later_is_named_and_restarts_nothing_twice(maria: Configured) -> None:
    other = maria.directory / "zz.cnf"
    other.write_text("[mysqld]\nback_log = 65\nmax_connections = 44\n")
    state, message, changed = maria.apply("buffer", "[mysqld]\nback_log = 60\nmax_connections = 55\n")
    assert (state, changed, _get(maria, "back_log")) == ("ok", True, "65"), message
    assert message.endswith(f" written, overridden by {other}: back_log, max_connections")
    pid = maria.pid()
    assert maria.again("buffer") == ("ok", message, False)
    told = message.partition(", ")[2]
    assert (maria.query().endswith(f"drifted: {told}"), maria.pid()) == (True, pid)
    other.unlink()
    maria.restart()
    state, message, changed = maria.again("buffer")
    assert (state, message[-10:], changed) == ("ok", " in effect", False), message
    assert (_get(maria, "back_log"), _get(maria, "max_connections")) == ("60", "55")
    assert maria.remove("buffer")[1] == "settings removed"


def test_socket_of_another_server_is_refused(maria: Configured) -> None:
    """As the usual one of a host with two servers: settings of the one must not be set in the other."""
    place, files = local_fleet.place(maria.instance), maria.files()
    facts = {"instance": maria.instance.id, "datastore": "mysql", "module": "m", "directory": str(place.directory)}
    config_type = module_types.functions(module_types.find(config.Settings(), "config"))
    wrong = f"the socket leads to the server on port {place.port}, not {place.port + 1}"
    with pytest.raises(kit.Refused, match=wrong):
        config_type.apply(b"[mysqld]\nmax_connections = 50\n", kit.Host({**facts, "port": place.port + 1}))
    assert maria.files() == files
