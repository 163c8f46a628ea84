"""The type config on a real PostgreSQL: at run time, by a restart, refused, put back, overridden, removed."""

import time
from collections.abc import Callable, Iterator

import pytest

from dbmod import local_servers
from tests import local_fleet
from tests.config_modules import Configured, watched

pytestmark = [pytest.mark.patient, pytest.mark.nightly]


@pytest.fixture(scope="module")
def post() -> Iterator[Configured]:
    with local_fleet.opened() as opened:
        yield Configured(opened, opened.create("post", "postgresql"))


def _get(post: Configured, name: str) -> str:
    return post.fleet.client(post.instance, f"-XAtc 'SHOW {name}'").strip()


def test_setting_is_changed_by_a_reload_and_comes_back(post: Configured) -> None:
    started, files, before = _started(post), post.files(), _get(post, "work_mem")
    state, message, changed = post.apply(
        "memory", "work_mem = @memory_mib/64@MB  # of the flavor\nlog_connections = on\n"
    )
    assert (state, changed) == ("ok", True), message
    assert message.endswith(" in effect")
    assert (_get(post, "work_mem"), _get(post, "log_connections")) == ("8MB", "on")
    assert post.again("memory") == ("ok", message, False)
    assert post.remove("memory") == ("ok", "settings removed", True)
    assert (_get(post, "work_mem"), _started(post), post.files()) == (before, started, files)


def test_alter_system_counts_more_and_is_named(post: Configured) -> None:
    overriding = f"overridden by {_get(post, 'data_directory')}/postgresql.auto.conf: work_mem"
    _alter(post, "SET work_mem = '5MB'")
    state, message, changed = post.apply("kept", "work_mem = 8MB\nmaintenance_work_mem = 32MB\n")
    assert (state, changed) == ("ok", True), message
    assert message.endswith(f" written, {overriding}")
    assert (_get(post, "work_mem"), _get(post, "maintenance_work_mem")) == ("5MB", "32MB")
    assert post.again("kept") == ("ok", message, False)
    assert post.query() == f"drifted: {overriding}"
    assert post.remove("kept") == ("ok", "settings removed", True)
    assert _get(post, "work_mem") == "5MB"
    post.apply("kept", "work_mem = 8MB\nmaintenance_work_mem = 32MB\n")
    _alter(post, "RESET work_mem")
    in_effect = message.partition(" written")[0] + " in effect"
    assert post.again("kept") == ("ok", in_effect, False)
    assert _get(post, "work_mem") == "8MB"
    assert "overridden" not in post.query()
    post.remove("kept")


def test_alter_system_that_waits_is_named_before_it_counts(post: Configured) -> None:
    """What a reload, or the next start, will bring is told while the server still has the module's value."""
    place = f"{_get(post, 'data_directory')}/postgresql.auto.conf"
    state, message, _ = post.apply("later", "work_mem = 8MB\nmax_connections = 40\n")
    assert (state, _get(post, "max_connections")) == ("ok", "40"), message
    post.fleet.client(post.instance, """-qc "ALTER SYSTEM SET work_mem = '5MB'" """)
    assert post.query() == f"drifted: overridden at its next start by {place}: work_mem"
    _alter(post, "SET max_connections = 45")
    assert post.query() == f"drifted: overridden by {place}: work_mem, at its next start: max_connections"
    post.restart()
    told = f"overridden by {place}: max_connections, work_mem"
    assert (post.query(), _get(post, "max_connections")) == (f"drifted: {told}", "45")
    started = _started(post)
    written = message.partition(" in effect")[0] + " written"
    assert post.again("later") == ("ok", f"{written}, {told}", False)
    state, message, _ = post.apply("later", "work_mem = 8MB\nmax_connections = 42\n")
    assert (state, message.partition(", ")[2]) == ("ok", told)
    assert _started(post) == started  # a restart would be in vain
    _alter(post, "RESET ALL")
    state, message, _ = post.again("later")
    assert (state, _get(post, "max_connections"), _get(post, "work_mem")) == ("ok", "42", "8MB"), message
    post.remove("later")


def test_setting_of_the_administrators_role_is_the_servers_no_less(post: Configured) -> None:
    post.fleet.client(post.instance, """-qc 'ALTER ROLE CURRENT_USER SET statement_timeout = 0'""")
    state, message, changed = post.apply("limit", "statement_timeout = 60s\n")
    assert (state, message[-10:], changed) == ("ok", " in effect", True), message
    assert post.again("limit") == ("ok", message, False)
    assert "overridden" not in post.query()
    post.remove("limit")
    post.fleet.client(post.instance, """-qc 'ALTER ROLE CURRENT_USER RESET statement_timeout'""")


def test_what_needs_a_restart_gets_one_and_survives_it(post: Configured, figure: Callable[[str, str], None]) -> None:
    started = _started(post)
    port = post.instance.port or 0
    with watched(lambda: local_servers.is_listening("127.0.0.1", port)) as down:
        state, message, changed = post.apply("buffers", "shared_buffers = 64MB\nmax_connections = 50\n")
    assert (state, changed) == ("ok", True), message
    assert (_get(post, "shared_buffers"), _get(post, "max_connections")) == ("64MB", "50")
    assert _started(post) != started
    figure("config", f"PostgreSQL restarted for a setting: {down[0]:.2f} s without an answer")
    started = _started(post)
    assert post.again("buffers") == ("ok", message, False)
    assert _started(post) == started


def test_bad_setting_is_never_live(post: Configured) -> None:
    started, files = _started(post), post.files()
    for line in ("no_such_setting = 1", "work_mem = many", "shared_buffers = 'many'", "log_statement = 'many"):
        state, message, _ = post.apply("bad", f"{line}\n")
        assert (state, message[:10]) == ("error", "PostgreSQL"), message
        assert "many" not in message
    assert (_started(post), post.files()) == (started, files)


def test_library_that_cannot_be_loaded_locks_nobody_out(post: Configured) -> None:
    files = post.files()
    for name in ("session_preload_libraries", "local_preload_libraries"):
        state, message, _ = post.apply("library", f"{name} = 'auto_explain, no such library'\n")
        assert (state, message) == ("error", f"PostgreSQL lets nobody log in with these {name}")
    assert post.files() == files
    state, message, _ = post.apply("library", "session_preload_libraries = 'auto_explain, $libdir/pgrowlocks'\n")
    assert (state, message[-10:]) == ("ok", " in effect"), message
    assert _get(post, "session_preload_libraries") == "auto_explain, $libdir/pgrowlocks"
    assert post.remove("library")[0] == "ok"


def test_server_that_does_not_come_up_gets_the_old_settings_back(post: Configured) -> None:
    files = post.files()
    state, message, _ = post.apply("buffers", "shared_preload_libraries = 'no_such_library'\n")
    assert state == "error"
    assert "did not come up, the old settings are back and it is up; refused with" in message
    assert "shared_preload_libraries" in message
    assert post.files() == files
    assert _get(post, "shared_buffers") == "64MB"


def test_restart_is_left_to_the_user_where_the_contents_say_so(post: Configured) -> None:
    started = _started(post)
    state, message, changed = post.apply("buffers", "# dbmod: no-restart\nshared_buffers = 32MB\n")
    assert (state, changed) == ("ok", True), message
    assert "pending restart: " in message
    assert (_get(post, "shared_buffers"), _started(post)) == ("64MB", started)
    assert post.again("buffers") == ("ok", message, False)


def _alter(post: Configured, what: str) -> None:
    post.fleet.client(post.instance, f"""-qc "ALTER SYSTEM {what}" -c 'SELECT pg_reload_conf()'""")
    time.sleep(0.3)  # the reload is not waited for


def _started(post: Configured) -> str:
    return post.fleet.client(post.instance, "-XAtc 'SELECT pg_postmaster_start_time()'")
