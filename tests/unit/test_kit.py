"""The kit that types are written on."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbmod import paths, records
from dbmod.hostside import dbmod_child, dbmod_command, dbmod_evidence, dbmod_files
from dbmod.hostside import dbmod_kit as kit
from tests.faults import failpoints

HOSTSIDE = sorted((paths.PACKAGE / "hostside").glob("dbmod_*.py"))


def test_key_value_takes_the_last_of_two_and_any_case() -> None:
    assert kit.key_value(b"\xef\xbb\xbf# c\r\nA = 1 \r\n\r\na=2=3\n  # d\nb=") == {"a": "2=3", "b": ""}


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"a=1\nsecret\n", "line 2 has no '='"),
        (b"a=\xff", "the contents are not UTF-8 text (byte 2)"),
        (b"\xff\xfea\0=\0", "the contents are not UTF-8 text (byte 0)"),
        (b"a=\0", "the contents are not text (a zero byte)"),
    ],
)
def test_key_value_refuses_with_the_place_and_not_the_text(contents: bytes, reason: str) -> None:
    with pytest.raises(kit.Refused) as refusal:
        kit.key_value(contents)
    assert str(refusal.value) == reason


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.from_regex(r"[ -~]{0,20}", fullmatch=True)))
def test_key_value_reads_what_was_written(values: dict[str, str]) -> None:
    text = "".join(f"{key}={value}\n" for key, value in values.items())
    assert kit.key_value(text.encode()) == {key: value.strip() for key, value in values.items()}


@given(st.binary(max_size=200))
def test_key_value_gives_text_or_refuses(contents: bytes) -> None:
    try:
        values = kit.key_value(contents)
    except kit.Refused as refusal:
        assert str(refusal)
    else:
        assert all(key == key.strip().lower() for key in values)


@given(st.text(max_size=2000))
def test_one_line_is_short_printable_and_encodable(text: str) -> None:
    shown = kit.one_line(text)
    assert len(shown) <= kit.MESSAGE_LIMIT
    assert all(character.isprintable() for character in shown)
    assert shown.encode("utf-8").decode("utf-8") == kit.one_line(shown)


def test_one_line_says_where_it_cut() -> None:
    assert kit.one_line("a\nb\x1b[31m\ud800") == "a b [31m"
    assert kit.one_line("x" * 300) == "x" * 254 + "…"


def a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, check: bool = False) -> kit.Host:
    monkeypatch.setenv("DBMOD_TEST_ROOT", str(tmp_path))
    (tmp_path / "etc").mkdir(exist_ok=True)
    (tmp_path / "own").mkdir(exist_ok=True)
    return kit.Host({"instance": "i", "directory": str(tmp_path / "own"), "port": 3306}, check=check)


def test_host_writes_once_and_keeps_the_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host(tmp_path, monkeypatch)
    assert host.write_file("/etc/x", b"1")
    assert (tmp_path / "etc/x").stat().st_mode & 0o777 == 0o600
    (tmp_path / "etc/x").chmod(0o640)
    inode = (tmp_path / "etc/x").stat().st_ino
    assert not host.write_file("/etc/x", b"1")
    assert (tmp_path / "etc/x").stat().st_ino == inode
    assert host.write_file("/etc/x", b"2")
    assert host.read_file("/etc/x") == b"2"
    assert (tmp_path / "etc/x").stat().st_mode & 0o777 == 0o640
    assert host.write_file("/etc/x", b"2", mode=0o644)
    assert not host.write_file("/etc/x", b"2", mode=0o644)
    assert list((tmp_path / "etc").iterdir()) == [tmp_path / "etc/x"]
    assert host.remove_file("/etc/x")
    assert not host.remove_file("/etc/x")
    assert host.read_file("/etc/x") is None


def test_host_writes_through_a_link_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host(tmp_path, monkeypatch)
    (tmp_path / "real").write_bytes(b"1")
    (tmp_path / "etc/link").symlink_to(tmp_path / "real")
    assert host.write_file("/etc/link", b"2")
    assert (tmp_path / "etc/link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"2"


def test_host_in_check_mode_tells_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host(tmp_path, monkeypatch, check=True)
    (tmp_path / "own/there").write_bytes(b"1")
    assert host.write_file("new", b"1")
    assert host.write_file("there", b"2")
    assert host.remove_file("there")
    assert host.command(["/bin/rm", str(tmp_path / "own/there")]) == kit.Completed(0, "")
    assert host.command(["/bin/echo", "asked"], changes=False) == kit.Completed(0, "asked\n")
    assert list((tmp_path / "own").iterdir()) == [tmp_path / "own/there"]
    assert (tmp_path / "own/there").read_bytes() == b"1"


def test_host_refuses_with_the_path_and_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host(tmp_path, monkeypatch)
    with pytest.raises(kit.Refused, match=r"/no/file cannot be written \(No such file or directory\)"):
        host.write_file("/no/file", b"1")
    (tmp_path / "own/.blocked.dbmod").touch()
    with pytest.raises(
        kit.Refused, match=r"blocked cannot be written \(\.blocked\.dbmod is not a folder of dbmod's own\)"
    ):
        host.write_file("blocked", b"1")
    with pytest.raises(kit.Refused, match=r"/etc cannot be read \(Is a directory\)"):
        host.read_file("/etc")
    with pytest.raises(kit.Refused, match=r"no-such-program cannot be run"):
        host.command(["no-such-program"])


def test_host_keeps_the_end_of_a_flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host(tmp_path, monkeypatch)
    ended = host.command(["/bin/sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo y; exit 3"])
    assert (ended.code, ended.output) == (3, "x" * (dbmod_command.OUTPUT_LIMIT_BYTES - 2) + "y\n")


def test_host_command_is_given_data_and_reads_as_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host(tmp_path, monkeypatch)
    data = b"x" * 300_000 + b"end\n"
    assert host.command(["/bin/cat"], data=data).output.endswith("xend\n")
    assert host.command(["/bin/true"], data=data).code == 0
    assert host.command(["/usr/bin/env"], environment={"ONLY": "this"}).output == "ONLY=this\n"


def test_host_command_is_not_awaited_for_what_it_leaves_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = a_host(tmp_path, monkeypatch)
    ended = host.command(["/bin/sh", "-c", "sleep 60 & echo $!"])
    os.kill(int(ended.output), 9)
    assert ended.code == 0


def test_host_command_tells_output_and_errors_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host(tmp_path, monkeypatch)
    script = "head -c 300000 /dev/zero | tr '\\0' x >&2; echo y >&2; echo answer; exec >&-; sleep 0.1; exit 3"
    ended = host.command(["/bin/sh", "-c", script])
    assert (ended.code, ended.output) == (3, "answer\n")
    assert ended.errors == "x" * (dbmod_command.OUTPUT_LIMIT_BYTES - 2) + "y\n"


def test_host_has_patience_for_two_thirds_of_the_time_there_is() -> None:
    assert kit.Host({}).patience_seconds() == pytest.approx(200, abs=1)
    assert kit.Host({"limit_seconds": 3}).patience_seconds() == pytest.approx(2, abs=0.2)
    late = kit.Host({"limit_seconds": 3})
    late.deadline -= 10
    assert late.patience_seconds() == 0


def test_host_command_is_killed_at_its_limit_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host(tmp_path, monkeypatch)
    with pytest.raises(kit.Refused, match=r"/bin/sh timed out after 0\.2 s"):
        host.command(["/bin/sh", "-c", f"sleep 60 & echo $! >{tmp_path}/child; wait"], limit_seconds=0.2)
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    failpoints.until(lambda: child.exists() and child.read_text().split()[2] != "Z", lambda runs: not runs, "its end")


def test_host_keeps_what_a_type_needs_later(tmp_path: Path) -> None:
    host = kit.Host({"folder": str(tmp_path)})
    assert host.kept() is None
    host.keep(b"before")
    kit.Host({"folder": str(tmp_path)}, check=True).keep(None)
    assert host.kept() == b"before"
    assert (tmp_path / dbmod_files.KEPT).stat().st_mode & 0o777 == 0o600
    host.keep(None)
    host.keep(None)
    assert list(tmp_path.iterdir()) == []


def test_child_gives_the_answer() -> None:
    assert dbmod_child.run(lambda: {"a": 1}, 5) == dbmod_child.Ended({"a": 1}, "")


def test_after_a_child_orphans_of_others_are_not_ours() -> None:
    """Who is given them has to wait for them: the command, and a test that kills a server's whole family."""
    dbmod_child.run(dict, 5)
    words = ["/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"]
    orphan = int(subprocess.run(words, capture_output=True, check=True).stdout)
    parent = int(Path(f"/proc/{orphan}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(orphan, signal.SIGKILL)
    assert parent != os.getpid()


def test_child_that_vanishes_is_no_answer() -> None:
    def vanish() -> dict[str, object]:
        os._exit(7)

    def kill() -> dict[str, object]:
        os.kill(os.getpid(), 9)
        return {}

    def close_all() -> dict[str, object]:
        os.closerange(3, 1000)
        time.sleep(600)
        return {}

    assert dbmod_child.run(close_all, 5) == dbmod_child.Ended(None, "ended without a result (signal 9)")
    assert dbmod_child.run(vanish, 5) == dbmod_child.Ended(None, "ended without a result (code 7)")
    assert dbmod_child.run(kill, 5) == dbmod_child.Ended(None, "ended without a result (signal 9)")


def test_child_is_killed_at_the_limit() -> None:
    begun = time.monotonic()
    ended = dbmod_child.run(lambda: time.sleep(60) or {}, 0.2)
    assert ended == dbmod_child.Ended(None, "timed out after 0.2 s")
    assert time.monotonic() - begun < 3


def test_lock_is_given_up_after_the_wait(tmp_path: Path) -> None:
    with dbmod_files.folder(str(tmp_path), ["i"], make=True) as one:
        assert one is not None
        with dbmod_files.locked(one, True, 1), dbmod_files.folder(str(tmp_path), ["i"]) as other:
            assert other is not None
            with (
                pytest.raises(dbmod_files.Unusable, match="another run works on this instance"),
                dbmod_files.locked(other, False, 0.1),
            ):
                pass
        with dbmod_files.locked(one, True, 0):
            pass


def test_folder_refuses_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with (
        pytest.raises(dbmod_files.Unusable, match="link is not a folder"),
        dbmod_files.folder(str(tmp_path), ["link", "inside"], make=True),
    ):
        pass
    assert not list((tmp_path / "real").iterdir())


def test_evidence_has_exactly_the_fields_of_the_record() -> None:
    assert tuple(dbmod_evidence.FIELDS) == records.Evidence.__struct_fields__


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_evidence_of_a_wrong_kind_is_not_believed(value: object) -> None:
    for name, kind in dbmod_evidence.FIELDS.items():
        fields = {field: None if field == "removed" else (kinds or str)() for field, kinds in PLAIN.items()}
        fields["status"] = "OK"
        assert dbmod_evidence._decoded(json.dumps(fields).encode()) is not None
        fields[name] = value
        believed = dbmod_evidence._decoded(json.dumps(fields).encode()) is not None
        is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        assert believed == (is_right and (name != "status" or value in ("OK", "ERROR")))


PLAIN = {name: kind for name, kind in dbmod_evidence.FIELDS.items() if name != "removed"} | {"removed": str}


@pytest.mark.parametrize("path", HOSTSIDE, ids=lambda path: path.stem)
def test_hostside_imports_only_the_standard_library(path: Path) -> None:
    if path.stem == "dbmod_module":
        return  # the door to Ansible, which is never shipped
    known = sys.stdlib_module_names | {"_sha2", "_sha256"}  # since Python 3.12, and before
    for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 6))):
        if isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] in known for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert str(node.module).split(".")[0] in known
