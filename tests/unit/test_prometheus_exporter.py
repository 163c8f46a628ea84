"""The type prometheus_exporter: what it reads in contents, and what it writes for systemd and the exporters."""

import configparser
import shlex

import pytest

from dbmod import config, module_types
from dbmod.hostside import dbmod_exporters as exporters
from dbmod.hostside import dbmod_kit as kit

TYPE = module_types.find(config.Settings(), "prometheus_exporter")
EXPORTER = module_types.functions(TYPE)
NAMES = EXPORTER.apply.__globals__
KNOWN = {"address": "10.0.0.7", "port": 6379}
LOGIN = exporters.Login("redis", "dbmod_exporter", "s3cret", "10.0.0.7", 6379)


def test_it_declares_what_it_needs_and_does() -> None:
    keys = ("listen", "flags", "user", "password_file", "datastore")
    expected = kit.Declares(needs=("root", "systemd"), keys=keys, admin=True)
    assert TYPE.declares == expected._replace(datastores=("mysql", "postgresql", "redis"))


@pytest.mark.parametrize(
    ("contents", "listen", "place"),
    [
        (b"listen=:9121", ":9121", ("", 9121)),
        (b"LISTEN = 0.0.0.0:1024 \r\n", "0.0.0.0:1024", ("0.0.0.0", 1024)),
        (b"listen=[::1]:65535\n", "[::1]:65535", ("::1", 65535)),
        (b"listen=[::]:9121\n", "[::]:9121", ("::", 9121)),
        (b"listen=@address@:@port+3000@\n", "10.0.0.7:9379", ("10.0.0.7", 9379)),
    ],
)
def test_listen_says_where(contents: bytes, listen: str, place: tuple[str, int]) -> None:
    wanted = NAMES["wanted_of"](contents, KNOWN)
    assert (wanted.listen, (wanted.address, wanted.port)) == (listen, place)


@pytest.mark.parametrize(
    "text", ["9121", ":", ":0", ":65536", "1.2.3:9121", "256.1.1.1:9121", "[1.1.1.1]:9121", "[g]:1"]
)
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(kit.Refused, match=r"^listen takes ADDRESS:PORT or :PORT, with a port from 1024 to 65535$"):
        EXPORTER.validate(f"listen={text}\n".encode())


@pytest.mark.parametrize(
    ("datastore", "flag"),
    [
        ("mysql", "--collect.info_schema.tables.databases=shop,'a b'"),
        ("mysql", "--no-collect.slave_status"),
        ("postgresql", "--no-collector.bgwriter"),
        ("postgresql", "--exclude-databases=a,b"),
        ("redis", "--check-single-keys=db0=a"),
        ("redis", "--include-config-metrics"),
    ],
)
def test_flags_that_choose_what_is_collected_are_taken_by_their_exporter_alone(datastore: str, flag: str) -> None:
    exporters.check_flags([flag], datastore)
    exporters.check_flags([flag], "")
    for other in set(exporters.EXPORTERS) - {datastore}:
        with pytest.raises(kit.Refused):
            exporters.check_flags([flag], other)


@pytest.mark.parametrize(
    "flag",
    [
        "--config.my-cnf=/root/.my.cnf",
        "--extend.query-path=/etc/passwd",
        "--redis.addr=redis://elsewhere",
        "--redis.password-file=/x",
        "--redact-config-metrics=false",
        "--web.config.file=/x",
        "--web.listen-address=:1",
        "--collect.heartbeat\nx",
        "--log.level=info\n",
        "-debug",
        "collect.heartbeat",
        "--",
        "",
    ],
)
def test_flags_that_do_more_are_refused_without_quoting_them(flag: str) -> None:
    with pytest.raises(kit.Refused) as refusal:
        exporters.check_flags(["--log.level=info", flag], "")
    assert str(refusal.value) == "no exporter takes the flag 2 from a module"


@pytest.mark.parametrize("datastore", exporters.EXPORTERS)
@pytest.mark.parametrize("user", ["dbmod_exporter", ""])
def test_a_login_is_read_back_as_it_was_written(datastore: str, user: str) -> None:
    login = LOGIN._replace(datastore=datastore, user=user)
    assert exporters.decoded(exporters.encoded(login)) == login


@pytest.mark.parametrize("data", [b"", b"# \n", b"# {}\n", b"# []\n", b"\xff", b'# {"user": 1}\n'])
def test_a_damaged_login_is_refused(data: bytes) -> None:
    with pytest.raises(kit.Refused, match=r"is damaged$"):
        exporters.decoded(data)


def test_each_exporter_gets_its_login_as_it_reads_it() -> None:
    read = configparser.ConfigParser(interpolation=None)
    read.read_string(exporters.encoded(LOGIN._replace(datastore="mysql")).decode())
    assert dict(read["client"]) == {"user": LOGIN.user, "password": "s3cret", "host": "10.0.0.7", "port": "6379"}
    six = exporters.encoded(LOGIN._replace(address="::1")).decode().splitlines()
    assert six[1:] == ["REDIS_ADDR=redis://[::1]:6379", f"REDIS_USER={LOGIN.user}", "REDIS_PASSWORD=s3cret"]
    post = exporters.encoded(LOGIN._replace(datastore="postgresql", port=5432)).decode().splitlines()
    assert post[1] == "DATA_SOURCE_URI=10.0.0.7:5432/postgres?sslmode=disable"


def test_the_unit_runs_the_words_as_they_are_and_holds_no_password() -> None:
    host = kit.Host({"instance": "i-1", "module": "m-1", "folder": "/var/lib/db%d"})
    words = ["--listen=:1", 'a "b" \\ $HOME %n']
    text = exporters.unit(exporters.EXPORTERS["redis"], host, words, program="/usr/bin/x")
    lines = dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)
    assert lines["EnvironmentFile"] == "/var/lib/db%%d/kept.dat"
    program, *shown = shlex.split(lines["ExecStart"])
    assert (program, [word.replace("%%", "%").replace("$$", "$") for word in shown]) == ("/usr/bin/x", words)
    assert exporters.is_of_module(text, "m-1")
    assert not exporters.is_of_module(text, "m-")


@pytest.mark.parametrize(("datastore", "is_left"), [("mysql", True), ("postgresql", False), ("redis", False)])
def test_another_address_of_the_server_leaves_an_account_where_it_is_bound_to_one(
    datastore: str, is_left: bool
) -> None:
    login = LOGIN._replace(datastore=datastore)
    assert NAMES["is_left_behind"](login, login._replace(address="10.0.0.8")) is is_left
    assert NAMES["is_left_behind"](login, login._replace(port=1)) is False
    assert NAMES["is_left_behind"](login, login._replace(user="me")) is True


@pytest.mark.parametrize(
    "password", ["p\u00e4ss", 'with"quote', "with space", "back\\slash", "#hash", "two\nlines", "$HOME"]
)
def test_a_password_of_the_server_that_the_exporter_would_read_otherwise_is_refused(password: str) -> None:
    NAMES["require_plain"]("")
    NAMES["require_plain"]("s3cret!%&*+,./:<=>?@^_{|}~-")
    with pytest.raises(kit.Refused, match=r"^the server's own password has signs") as refusal:
        NAMES["require_plain"](password)
    assert password not in str(refusal.value)
