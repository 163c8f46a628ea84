"""The password's files on a host, as dbmod_password sends them."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from dbmod.hostside import dbmod_secret_files
from tests import hosts

DIGEST = "user default on #@sha256@ ~* &* +@all\n"


def files(directory: Path) -> list[list[object]]:
    return [
        [str(directory / "password"), "@password@\n", None],
        [str(directory / "secrets.conf"), "masterauth @password@\n", None],
        [str(directory / "users.acl"), DIGEST, None],
    ]


def test_files_are_made_once_and_kept(tmp_path: Path) -> None:
    assert dbmod_secret_files.write(files(tmp_path), "secret", False)
    assert (tmp_path / "password").read_text() == "secret\n"
    assert (tmp_path / "secrets.conf").read_text() == "masterauth secret\n"
    digest = hashlib.sha256(b"secret").hexdigest()
    assert (tmp_path / "users.acl").read_text() == DIGEST.replace("@sha256@", digest)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert not dbmod_secret_files.write(files(tmp_path), "secret", False)


def test_missing_file_is_made_again_and_the_others_stay(tmp_path: Path) -> None:
    dbmod_secret_files.write(files(tmp_path), "shared", False)
    (tmp_path / "secrets.conf").unlink()
    (tmp_path / "users.acl").write_text("changed by the server\n")
    assert dbmod_secret_files.write(files(tmp_path), "shared", False)
    assert (tmp_path / "secrets.conf").read_text() == "masterauth shared\n"
    assert (tmp_path / "users.acl").read_text() == "changed by the server\n"


def test_other_password_than_the_one_kept_is_refused(tmp_path: Path) -> None:
    dbmod_secret_files.write(files(tmp_path)[:1], "one", False)
    with pytest.raises(OSError, match="holds another password"):
        dbmod_secret_files.write(files(tmp_path), "two", False)


def test_check_writes_nothing(tmp_path: Path) -> None:
    assert dbmod_secret_files.write(files(tmp_path), "secret", True)
    assert list(tmp_path.iterdir()) == []


def test_links_are_never_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    (tmp_path / "password").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        dbmod_secret_files.write(files(tmp_path), "secret", False)
    assert victim.read_text() == "precious\n"


@pytest.mark.parametrize("python", hosts.pythons())
def test_failure_on_a_host_never_tells_the_password(python: str, tmp_path: Path) -> None:
    closed = tmp_path / "missing"
    request = {"files": files(closed), "password": "C4nary", "check": False}
    answer = subprocess.run(
        [python, "-IS", os.fspath(dbmod_secret_files.__file__)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(answer.stdout)
    assert not said["changed"]
    assert said["error"].endswith("No such file or directory")
    assert "C4nary" not in answer.stdout + answer.stderr
