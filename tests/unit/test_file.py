"""The type file: where it must not write, and that what was there before comes back."""

import os
import time
from pathlib import Path

import pytest

from dbmod import config, module_types
from dbmod.hostside import dbmod_kit as kit
from tests import hosts

FILE = module_types.functions(module_types.find(config.Settings(), "file"))
NAMES = FILE.apply.__globals__


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kit.Host:
    """A host whose systemctl is the stand-in, with a file /etc/a of mode 0644 that says old."""
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "home/instances/i/modules/file/m").mkdir(parents=True)
    monkeypatch.setenv("DBMOD_TEST_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("PATH", f"{hosts.STAND_INS}:{os.environ['PATH']}")
    (tmp_path / "root/etc/a").write_bytes(b"old")
    (tmp_path / "root/etc/a").chmod(0o644)
    return a_host(tmp_path)


def a_host(top: Path, *, unfinished: bool = False) -> kit.Host:
    folder = top / "home/instances/i"
    facts = {"instance": "i", "home": str(top / "home"), "directory": str(folder), "module": "m"}
    return kit.Host({**facts, "folder": str(folder / "modules/file/m")}, unfinished=unfinished)


def test_a_new_path_puts_the_old_one_back(host: kit.Host, tmp_path: Path) -> None:
    etc = tmp_path / "root/etc"
    assert FILE.apply(b"path=/etc/a\n\nnew", host).changed
    assert ((etc / "a").read_bytes(), (etc / "a").stat().st_mode & 0o777) == (b"new", 0o600)
    assert FILE.apply(b"path=/etc/b\n\nnew", host).changed
    assert ((etc / "a").read_bytes(), (etc / "a").stat().st_mode & 0o777) == (b"old", 0o644)
    assert not FILE.apply(b"path=/etc/b\n\nnew", host).changed
    assert FILE.remove(b"path=/etc/b\n\nnew", host) == kit.Outcome(True, "/etc/b is as it was before")
    assert sorted(path.name for path in etc.iterdir()) == ["a"]
    assert host.kept() is None


def test_a_validation_that_fails_changes_nothing(host: kit.Host, tmp_path: Path) -> None:
    with pytest.raises(kit.Refused, match=r"^the validation ended with code 1; nothing was changed$"):
        FILE.apply(b"path=/etc/a\nvalidate=grep -q good %s\n\nbad", host)
    assert (tmp_path / "root/etc/a").read_bytes() == b"old"
    assert not FILE.remove(b"path=/etc/a\nvalidate=grep -q good %s\n\nbad", host).changed
    assert (tmp_path / "root/etc/a").read_bytes() == b"old"


def test_what_was_never_applied_is_not_removed_although_it_is_the_same(host: kit.Host, tmp_path: Path) -> None:
    contents = b"path=/etc/a\nvalidate=false %s\n\nold"
    with pytest.raises(kit.Refused, match="the validation ended with code 1; nothing was changed"):
        FILE.apply(contents, host)
    assert FILE.remove(contents, a_host(tmp_path, unfinished=True)) == kit.Outcome(False, "")
    assert (tmp_path / "root/etc/a").read_bytes() == b"old"


def test_a_unit_that_fails_gets_the_file_of_before(host: kit.Host, tmp_path: Path) -> None:
    contents = b"path=/etc/a\nnotify=restart db\n\nnew"
    fails = tmp_path / "root/systemctl.fails"
    fails.touch()
    with pytest.raises(kit.Refused) as refusal:
        FILE.apply(contents, host)
    assert str(refusal.value) == (
        "systemctl restart db ended with code 1; what was there before is back, but not even with that it works"
    )
    assert (tmp_path / "root/etc/a").read_bytes() == b"old"
    assert (tmp_path / "root/systemctl.log").read_text().splitlines() == ["restart db"] * 2
    assert not FILE.remove(contents, host).changed
    assert (tmp_path / "root/etc/a").read_bytes() == b"old"
    fails.unlink()
    assert FILE.apply(contents, host).changed
    fails.touch()
    with pytest.raises(kit.Refused):
        FILE.apply(b"path=/etc/b\nnotify=restart db\n\nnewer", host)
    assert (tmp_path / "root/etc/a").read_bytes() == b"new"
    assert not (tmp_path / "root/etc/b").exists()
    fails.unlink()
    assert FILE.remove(contents, host).changed
    assert (tmp_path / "root/etc/a").read_bytes() == b"old"


def test_a_unit_that_hangs_gets_the_file_of_before(
    host: kit.Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(f"#!/bin/sh\n! mkdir {tmp_path}/asked 2>/dev/null || sleep 60\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    host.deadline = time.monotonic() + 1.5
    with pytest.raises(kit.Refused, match=r"^systemctl timed out after [\d.]+ s; what was there before is back$"):
        FILE.apply(b"path=/etc/a\nnotify=restart db\n\nnew", host)
    assert time.monotonic() < host.deadline
    assert (tmp_path / "root/etc/a").read_bytes() == b"old"


def test_a_file_that_went_with_its_folder_is_removed(host: kit.Host, tmp_path: Path) -> None:
    folder = tmp_path / "root/etc/app"
    folder.mkdir()
    contents = b"path=/etc/app/x\n\nnew"
    assert FILE.apply(contents, host).changed
    (folder / "x").unlink()
    folder.rmdir()
    assert FILE.remove(contents, host) == kit.Outcome(False, "/etc/app/x is as it was before")
    assert host.kept() is None


def test_a_unit_is_told_again_after_a_run_that_was_cut_off(host: kit.Host, tmp_path: Path) -> None:
    contents = b"path=/etc/a\nnotify=restart db\n\nnew"
    assert FILE.apply(contents, host).changed
    assert not FILE.apply(contents, a_host(tmp_path, unfinished=True)).changed
    assert (tmp_path / "root/systemctl.log").read_text().splitlines() == ["restart db"] * 2


def test_a_file_that_was_only_recorded_goes_if_it_is_still_the_same(host: kit.Host, tmp_path: Path) -> None:
    assert not FILE.remove(b"path=/etc/a\n\nother", host).changed
    assert FILE.remove(b"path=/etc/a\n\nold", host).changed
    assert not (tmp_path / "root/etc/a").exists()


def test_links_folders_and_dbmods_own_are_refused(host: kit.Host, tmp_path: Path) -> None:
    etc, own = tmp_path / "root/etc", tmp_path / "home/instances/i"
    (etc / "link").symlink_to("a")
    (etc / "folder").mkdir()
    (own / "out").symlink_to(etc)
    (etc / "controller").mkdir()
    (etc / "controller/key").touch()
    (etc / "controller/contents").mkdir()
    (etc / "home").symlink_to(tmp_path / "home")
    for path, reason in (
        ("/etc/link", "/etc/link is a link"),
        ("/etc/folder", "/etc/folder is not a file"),
        ("/etc/none/x", "the folder of /etc/none/x is not there"),
        ("out/a", "out/a leads out of the server's directory"),
        ("modules/file/m/result.json", "modules/file/m/result.json is dbmod's own"),
        ("/etc/home/instances/i/modules/x", "/etc/home/instances/i/modules/x is dbmod's own"),
        ("/etc/home/instances/j", "/etc/home/instances/j is dbmod's own"),
        ("/etc/controller/contents/x", "/etc/controller/contents/x is dbmod's own"),
    ):
        with pytest.raises(kit.Refused) as refusal:
            FILE.apply(f"path={path}\n\nx".encode(), host)
        assert str(refusal.value) == reason
    assert (etc / "a").read_bytes() == b"old"
    assert FILE.apply(b"path=mine.cnf\n\nx", host).changed


def test_a_local_servers_directory_is_its_home_too(tmp_path: Path) -> None:
    place = str(tmp_path)
    assert not NAMES["is_of_dbmod"](f"{place}/etc/x", place, place)
    assert NAMES["is_of_dbmod"](f"{place}/instances/x", place, place)
    assert NAMES["is_of_dbmod"](f"{place}/kit", place, place)


def test_query_says_what_differs(host: kit.Host, tmp_path: Path) -> None:
    host.held = b"path=/etc/a\nmode=0640\n\nnew"
    FILE.apply(host.held, host)
    assert FILE.query is not None
    assert FILE.query(host) == ""
    file = tmp_path / "root/etc/a"
    file.chmod(0o666)
    assert FILE.query(host) == "/etc/a has the mode 0666 instead of 0640"
    file.write_bytes(b"by hand")
    assert FILE.query(host) == "/etc/a is not what was applied"
    file.unlink()
    assert FILE.query(host) == "/etc/a is gone"


@pytest.mark.parametrize("owner", ["no-such-account", "4294967295", "99999999999", "\N{SUPERSCRIPT TWO}"])
def test_an_owner_that_is_not_known_is_refused(host: kit.Host, owner: str) -> None:
    for key in ("owner", "group"):
        with pytest.raises(kit.Refused, match=r"^owner or group is not known on this host$"):
            FILE.apply(f"path=/etc/a\n{key}={owner}\n\nnew".encode(), host)


@pytest.mark.root
def test_owner_and_mode_are_there_from_the_first_instant(host: kit.Host, tmp_path: Path) -> None:
    host.held = b"path=/etc/b\nowner=61234\ngroup=daemon\nmode=0440\n\nnew"
    assert FILE.apply(host.held, host).changed
    assert not FILE.apply(host.held, host).changed
    status = (tmp_path / "root/etc/b").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (61234, 1, 0o440)
    os.chown(tmp_path / "root/etc/b", 0, 1)
    assert FILE.query is not None
    assert FILE.query(host) == "/etc/b belongs to 0:1"


@pytest.mark.root
def test_a_new_file_of_the_server_belongs_to_whom_its_folder_does(host: kit.Host, tmp_path: Path) -> None:
    folder = tmp_path / "home/instances/i/etc"
    folder.mkdir()
    os.chown(folder, 61234, 61235)
    assert FILE.apply(b"path=etc/x\n\nnew", host).changed
    status = (folder / "x").stat()
    assert (status.st_uid, status.st_gid) == (61234, 61235)
