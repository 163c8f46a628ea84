"""The compiled kit that the first change leaves on a host: what the next one may use, and what it must not."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import hosts

CONTENTS = b"message=Module.V1\n"
# Makes the compiled kit say that it was used, as only its owner could.
MARKED = """
import binascii, marshal, sys
head, _, data = open(sys.argv[1], "rb").read().partition(b"\\n")
code = marshal.loads(data)
code[0] = compile("print('\\\\ndbmod-refused - it was used'); raise SystemExit(0)", "dbmod_files.py", "exec")
data = marshal.dumps(code)
head = head.rpartition(b" ")[0] + b" %08x" % binascii.crc32(data)
open(sys.argv[1], "wb").write(head + b"\\n" + data)
"""


@pytest.fixture(params=hosts.pythons())
def host(request: pytest.FixtureRequest, tmp_path: Path) -> hosts.Host:
    host = hosts.Host(tmp_path)
    host.python = request.param
    return host


def kept(host: hosts.Host) -> Path:
    return host.home / "kit"


def applied(host: hosts.Host) -> hosts.Sent:
    sent = host.apply("ping", CONTENTS)
    assert sent.result.message == "Module.V1", sent.output
    return sent


def test_the_first_change_leaves_it_and_the_next_takes_it(host: hosts.Host) -> None:
    applied(host)
    assert kept(host).stat().st_mode & 0o7777 == 0o600
    before = kept(host).stat()
    applied(host)
    after = kept(host).stat()  # not when it was read, which the kernel may write down
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    subprocess.run([host.python, "-c", MARKED, str(kept(host))], check=True)
    assert host.apply("ping", CONTENTS).answer.problem == "it was used"


def test_what_changes_nothing_leaves_none(host: hosts.Host) -> None:
    host.apply("ping", CONTENTS, check=True)
    assert not host.home.exists()
    applied(host)
    kept(host).unlink()
    host.apply("ping", CONTENTS, check=True)
    assert host.look("query", "ping").result.status == "OK"
    assert not kept(host).exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _zeros(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5000:9000] = bytes(4000)
    path.write_bytes(data)


def _of_another_python(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"cpython-3", b"cpython-2", 1))


def _of_another_kit(path: Path) -> None:
    mark, _, rest = path.read_bytes().partition(b"\n")
    python, number, _, check = mark.split(b" ")
    path.write_bytes(b" ".join([python, number, b"0" * 64, check]) + b"\n" + rest)


def _writable_by_others(path: Path) -> None:
    path.chmod(0o620)


def _of_another_user(path: Path) -> None:
    os.chown(path, 65534, 65534)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "spoil",
    [_cut, _zeros, _of_another_python, _of_another_kit, _writable_by_others, _of_another_user, _link, _pipe, _empty],
    ids=lambda one: one.__name__.strip("_"),
)
def test_one_that_cannot_be_trusted_is_replaced(host: hosts.Host, spoil: Callable[[Path], None]) -> None:
    applied(host)
    good = kept(host).read_bytes()
    subprocess.run([host.python, "-c", MARKED, str(kept(host))], check=True)  # as if another had written it
    spoil(kept(host))
    applied(host)
    assert not kept(host).is_symlink()
    assert kept(host).read_bytes() == good


def test_where_it_cannot_be_kept_nothing_else_is_lost(host: hosts.Host) -> None:
    applied(host)
    kept(host).unlink()
    kept(host).mkdir()
    applied(host)
    assert kept(host).is_dir()
