"""The type config: how it reads contents. With servers: integration/test_config_*.py."""

from pathlib import Path

import pytest

from dbmod import config, module_types, paths, transport
from dbmod.hostside import dbmod_dropin as dropin
from dbmod.hostside import dbmod_kit as kit
from dbmod.hostside import dbmod_mysql as mysql
from dbmod.hostside import dbmod_overrides as overrides
from dbmod.hostside import dbmod_postgresql as postgresql
from dbmod.hostside import dbmod_redis as redis

TYPES = module_types.listing(config.Settings())
CONFIG = module_types.functions(TYPES["config"])


def test_it_declares_what_it_works_on() -> None:
    assert TYPES["config"].declares == kit.Declares(
        restarts=True, datastores=("redis", "mysql", "postgresql"), admin=True
    )


@pytest.mark.parametrize(
    "contents",
    [
        b"maxmemory @memory_mib*0.7@mb\n",
        b"# dbmod: no-restart\r\nsave 900 1\r\nsave 60 1000\r\n",
        b"[mysqld]\nmax-connections = 10\nskip_name_resolve\n",
        b"# first\n[mariadb-10.11]\nserver_id = @server_id@\n",
        b"work_mem = '4MB' # each\n",
    ],
)
def test_good_contents_of_each_server_are_taken(contents: bytes) -> None:
    CONFIG.validate(contents)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "the contents hold no setting"),
        (b"maxmemory 1mb\0", "the contents are not text (a zero byte, or a lone carriage return)"),
        (b"maxmemory\n", "line 1: not a name and its value"),
        (b"maxmemory 1mb\nrequirepass x\n", "line 2: requirepass belongs to the instance, not to a module"),
        (b'maxmemory "1mb\n', "line 1: a quotation mark without its second"),
        (b"[mysqld]\ndatadir = /x\n", "line 2: datadir belongs to the instance, not to a module"),
        (b"[mysqld]\nloose-data\\dir=1", "line 2: not a name and its value in a section [mysqld]"),
        (b"[client]\nuser = root\n", "line 1: not a section of the server, as [mysqld] is"),
        (b"!include /etc/shadow\n", "line 1: not a name and its value in a section [mysqld]"),
        (b"[mysqld]\n# none\n", "the contents hold no setting"),
        (b"work_mem = 1\ninclude '/etc/x'\n", "line 2: not a name, an equals sign and a value"),
        (b"work_mem = 1\nINCLUDE = '/etc/x'\n", "line 2: include belongs to the instance, not to a module"),
    ],
)
def test_bad_contents_are_refused(contents: bytes, reason: str) -> None:
    with pytest.raises(kit.Refused) as refusal:
        CONFIG.validate(contents)
    assert str(refusal.value) == reason


def test_lines_of_one_name_are_one_value_of_redis() -> None:
    assert redis.settings("save 900 1\nSAVE 60 1000\nclient-name 'a b'") == {
        "save": "900 1 60 1000",
        "client-name": "a b",
    }


def test_variables_of_mysql_are_named_as_the_server_does() -> None:
    text = "[mysqld]\nloose-innodb-buffer-pool-size = 1G # most\nskip-name-resolve\n"
    assert mysql.settings(text) == {"innodb_buffer_pool_size": "1G", "skip_name_resolve": ""}


def test_messages_of_mysql_keep_names_and_lose_values() -> None:
    said = "2026-01-01 0:00:00 0 [ERROR] mariadbd: unknown variable 'no-such=s3cret' and 'other'"
    assert mysql._without_values(said, {"no_such": "s3cret"}) == "mariadbd: unknown variable 'no_such' and '…'"


def test_what_mysql_adjusts_is_refused() -> None:
    for said in (
        "[Warning] [MY-000081] [Server] option 'max-connections': unsigned value 0 adjusted to 1.",
        "[Warning] [MY-000076] [Server] option 'skip_name_resolve': boolean value 'x' was not recognized. Set to OFF.",
        "[Warning] option 'skip_name_resolve': boolean value 'x' wasn't recognized. Set to OFF.",
    ):
        with pytest.raises(kit.Refused, match=r"would take another value for (max_connections|skip_name_resolve) than"):
            mysql._refuse_adjusted(said, {"max_connections": "many", "skip_name_resolve": "x"})
        mysql._refuse_adjusted(said, {"back_log": "1"})


def test_what_overrides_is_told_by_its_place() -> None:
    wanted = dict.fromkeys("abcdef", "1")
    now = {"a": "2", "b": "1", "c": "2", "d": "2", "e": "2", "f": "1"}
    found = {"a": "/x.cnf", "b": "/x.cnf", "e": "", "f": "/y.cnf"}
    told = "overridden: c, overridden by /x.cnf: a, at its next start: b, overridden at its next start by /y.cnf: f"
    assert overrides.told(wanted, now, ["d"], found) == told
    assert overrides.told(wanted, dict.fromkeys("abcdef", "1"), [], {}) == ""
    assert overrides.told(wanted, {}, [], found) == ""


def test_lines_of_redis_are_read_in_its_order(tmp_path: Path) -> None:
    host = kit.Host({"directory": str(tmp_path)})
    main, module = tmp_path / "redis.conf", tmp_path / "module.conf"
    main.write_text(f'hz 10\nINCLUDE "{tmp_path}/m*.conf"\ninclude missing\nHz 30 # "\n')
    module.write_text("# hz 5\nhz 20\n")
    lines = [(str(main), "hz", "hz 10"), (str(module), "hz", "hz 20")]
    assert overrides._lines(host, str(main), 0) == lines  # the open quote is no line of anything
    main.write_text("hz 10\ninclude redis.conf\n")
    assert overrides._lines(host, str(main), 0).count(lines[0]) == overrides.DEPTH + 1


def test_an_include_is_found_where_it_is_one() -> None:
    assert redis.includes('port 1\n  include "/a b/index.conf"\n', "/a b")
    assert not redis.includes('# include "/a/index.conf"\n', "/a")
    assert mysql.includes("[mysqld]\n!includedir /a b\n", "/a b")
    assert not mysql.includes("#!includedir /a\n", "/a")
    assert postgresql.includes("include_dir = '/a''b'\n", "/a'b")
    assert not postgresql.includes("#include_dir '/a'\n", "/a")


def test_settings_of_adopted_servers_lie_where_they_may_read_them() -> None:
    assert dropin._adopted(mysql, "x", "/etc/mysql/my.cnf", "[mysqld]\n") == "/etc/mysql/dbmod/x"
    assert (
        dropin._adopted(mysql, "x", "/etc/mysql/my.cnf", "!includedir /etc/dbmod/x\n") == "/etc/dbmod/x"
    )  # as told once
    assert dropin._adopted(mysql, "x", "/etc/my.cnf", "[mysqld]\n") == "/etc/dbmod/x"
    assert dropin._adopted(redis, "x", "/etc/redis/redis.conf", "") == "/etc/dbmod/x"


def test_only_types_that_use_a_part_of_the_kit_are_sent_it() -> None:
    request = transport.Request(run="r", serial=1, verb="query", home="/h", instance="i", modules=())
    health = (paths.role("datastore", "redis") / "health.py").read_text()
    sources = module_types.sources(config.Settings()) | {"health": health}
    with_it = transport.frame(request, sources)
    without = transport.frame(request, {"ping": sources["ping"]})
    for part in transport.EXTRAS:
        assert f'[".dbmod_{part}", '.encode() in with_it
        assert f"dbmod_{part}".encode() not in without
