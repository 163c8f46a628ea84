"""Which file systems are no place for a ledger."""

from pathlib import Path

import msgspec
import pytest

from dbmod import errors, store
from dbmod.config import Settings
from dbmod.store import lock
from tests import ledgers

MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/export /home nfs4 rw,vers=4.2 0 0
/dev/vdb /home/ada/local\\040disk ext4 rw 0 0
//server/share /mnt/share cifs rw 0 0
ada@host:/ /mnt/ssh fuse.sshfs rw 0 0
portal /mnt/doc fuse.portal rw 0 0
autofs /net autofs rw 0 0
server:/x /net nfs rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("/var/lib/dbmod", ""),
        ("/home", "nfs4"),
        ("/home/ada/.local/state/dbmod", "nfs4"),
        ("/homestead/dbmod", ""),
        ("/home/ada/local disk/dbmod", ""),
        ("/mnt/share/a", "cifs"),
        ("/mnt/ssh", "fuse.sshfs"),
        ("/mnt/doc/x", ""),
        ("/net/x", "nfs"),
    ],
)
def test_a_network_filesystem_is_recognised_by_the_mount_that_holds_the_directory(directory: str, name: str) -> None:
    assert lock.network_filesystem(Path(directory), MOUNTS) == name


def test_a_ledger_on_a_network_filesystem_is_refused_unless_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(lock, "MOUNTS", mounts)
    for action in (
        lambda: store.open(settings).transaction(holder="a test").__enter__(),
        lambda: store.open(settings).write_contents("m", 1, b"x"),
    ):
        with pytest.raises(errors.LedgerError, match="network file system \\(nfs4\\)") as caught:
            action()
        assert caught.value.exit_code == 3
    assert not settings.home_path.exists()
    told = msgspec.structs.replace(settings, network_filesystem_allowed=True)
    with store.open(told).transaction(holder="a test") as tables:
        tables.put(ledgers.module(1))
    assert len(store.open(settings).snapshot().find(type(ledgers.module(1)))) == 1


def test_a_holder_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert lock.holder(path) is None
    path.write_text('{"what": "half a li')
    assert lock.holder(path) is None
