"""Promises R8 and R10: bytes arrive as they are, twice changes nothing, large ones keep the controller small."""

import hashlib
import os
import random
from pathlib import Path

import pytest

from dbmod.records import Run
from tests import figures
from tests.end_to_end.memory import Watch
from tests.end_to_end.sites import Site
from tests.faults import checker

KIB, MIB = 1 << 10, 1 << 20
SEED = 20170602
MATRIX: dict[str, bytes] = {
    "one byte": b"x",
    "a zero byte": b"\0",
    "one newline": b"\n",
    "64 KiB - 1": random.Random(SEED).randbytes(64 * KIB - 1),
    "64 KiB": random.Random(SEED).randbytes(64 * KIB),
    "64 KiB + 1": random.Random(SEED).randbytes(64 * KIB + 1),
    "8 MiB, the limit": random.Random(SEED).randbytes(8 * MIB),
    "all byte values": bytes(range(256)) * 3,
    "CRLF": b"one\r\ntwo\r\n",
    "no final newline": b"one\ntwo",
    "UTF-8 with BOM": b"\xef\xbb\xbfmessage=\xc3\xa9\n",
    "UTF-16": "message=\u00e9\n".encode("utf-16"),
    "invalid UTF-8": b"\xff\xfe\xc3\x28\xed\xa0\x80",
    "a vault's head": b"$ANSIBLE_VAULT;1.1;AES256\n3132\n",
    "an expression": b"{{ 7 * 7 }}{{ lookup('env', 'HOME') }}",
    "a block and a comment": b"{% for x in [1] %}{# x #}{% endfor %}",
    "YAML tags": b"!unsafe 1\n!vault |\n  3132\n!!python/object/apply:os.system [id]\n",
    "JSON": b'{"__ansible_unsafe": "x", "__ansible_vault": "y"}',
    "marks of the answer": b"\ndbmod-finished x\ndbmod-result x {}\n-----END\n",
    "a sparse file": b"\0" * MIB + b"end",
    "terminal escapes": b"\x1b[2J\x1b]0;title\x07\x08\x7f",
}


def test_bytes_arrive_as_they_are_and_come_back(site: Site) -> None:
    """All of the matrix on one host, by the command alone: create, apply, retrieve."""
    [instance] = site.add_hosts(1)
    names = []
    for label, contents in MATRIX.items():
        path = site.directory / "contents"
        if label == "a sparse file":
            path.unlink()
            with path.open("wb") as file:
                file.seek(MIB)
                file.write(b"end")
        else:
            path.write_bytes(contents)
        names.append(f"module {len(names)}")
        site.well("module-create", names[-1], "blob", str(path))
    site.well("module-apply", "db-0", *names)
    site.well("module-retrieve", "db-0", "--directory", str(site.directory / "got"), "--prefix", "my")
    for name, (label, contents) in zip(names, MATRIX.items(), strict=True):
        digest = hashlib.sha256(contents).hexdigest()
        assert checker.on_host(instance, site.module(name)).sha256 == digest, label
        retrieved = site.directory / "got" / f"my_{name}_all_all.dat"
        assert hashlib.sha256(retrieved.read_bytes()).hexdigest() == digest, label
        assert retrieved.stat().st_mode & 0o777 == 0o600
    figures.figure(
        "R10",
        f"{len(MATRIX)} of {len(MATRIX)} contents have the same sha256 on the host and when retrieved (seed {SEED})",
    )


def test_bad_files_are_refused_before_any_host_is_touched(site: Site) -> None:
    [instance] = site.add_hosts(1)
    made = {"empty": b"", "large": b"x" * (8 * MIB + 1)}
    for name, contents in made.items():
        (site.directory / name).write_bytes(contents)
    os.mkfifo(site.directory / "fifo")
    for name in (*made, "fifo", "/dev/zero", "/dev/null", "/proc/self/mem", "nowhere", "."):
        refused = site.dbmod("module-create", "mymod", "blob", name)
        assert refused.code == 2, (name, refused.said)
        assert refused.err.startswith("ERROR: The file '"), (name, refused.said)
    for contents in made.values():
        assert site.dbmod("module-create", "mymod", "blob", "-", stdin=contents).code == 2
    assert site.find(Run) == []
    assert list(Path(str(instance.provider_facts["directory"])).iterdir()) == []


def test_applying_twice_changes_nothing_on_the_host(site: Site) -> None:
    """With check mode in between, which changes nothing at all."""
    [instance] = site.add_hosts(1)
    kinds = {"ping": b"message=hi\n", "blob": b"any", "token": b"secret"}
    for kind, contents in kinds.items():
        site.add_module(kind, contents, kind=kind)
    site.well("module-apply", "db-0", *kinds)
    folders = {kind: checker.folder_of(instance, site.module(kind)) for kind in kinds}
    first = {kind: seen(folder) for kind, folder in folders.items()}
    results = {kind: seen(folder, result=True) for kind, folder in folders.items()}
    rows = site.well("module-list-instance", "db-0", "-f", "json").json()
    checked = site.playbook("module_apply", "--check", "-e", "instance=db-0", "-e", f"modules={','.join(kinds)}")
    assert checked.code == 0, checked.said
    assert "changed=0" in checked.out
    assert {kind: seen(folder, result=True) for kind, folder in folders.items()} == results
    assert site.well("module-list-instance", "db-0", "-f", "json").json() == rows
    site.well("module-apply", "db-0", *kinds)
    assert {kind: seen(folder) for kind, folder in folders.items()} == first
    assert first["token"] == {}
    assert len(first["blob"]) == 1
    changed = [attempt.changed for attempt in site.attempts(site.last_run())]
    assert changed == [False] * len(kinds)
    figures.figure(
        "R8", f"applied twice, {len(kinds)} types, --check between: changed=false, inode and mtime of contents the same"
    )


def seen(folder: Path, *, result: bool = False) -> dict[str, tuple[int, int, int]]:
    """Give inode, mtime and size of the files of a module; those of result.json change with each run."""
    found = {}
    for path in folder.iterdir():
        if result or path.name != "result.json":
            status = path.stat()
            found[path.name] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


@pytest.mark.parametrize(
    ("size_mib", "hosts", "at_once"), [(8, 6, 6), pytest.param(64, 4, 2, marks=pytest.mark.nightly)]
)
def test_large_contents_keep_the_controller_small(site: Site, size_mib: int, hosts: int, at_once: int) -> None:
    """at_once: so many are served at the same time, however many Ansible's forks are."""
    site.environment |= {"DBMOD_CONTENTS_LIMIT_BYTES": str(64 * MIB)}
    site.add_hosts(hosts)
    path = site.directory / "contents"
    path.write_bytes(random.Random(SEED).randbytes(size_mib * MIB))
    retrieved = site.directory / "got" / "large_all_all.dat"
    commands = {
        "module-create": (("large", "blob", str(path)), 3),
        "module-apply": (("--all", "--module", "large"), 3 * at_once),
        "module-retrieve": (("db-0", "--directory", str(retrieved.parent)), 6),
    }  # the last is what is allowed for each MiB; Ansible copies what a host gives, as base64, three times
    for verb, (words, factor) in commands.items():
        limit_mib = 100 + factor * size_mib
        with Watch(site.home) as watch:
            site.well(verb, *words)
        seen_mib = watch.peak_bytes // MIB
        at = f" on {at_once} hosts at once" if verb == "module-apply" else ""
        text = f"{verb} of {size_mib} MiB{at}: controller peak {seen_mib} MiB, limit 100 + {factor} x {size_mib}"
        figures.figure("R10", f"{text} ({watch.samples} samples)")
        assert watch.samples > 5
        assert seen_mib <= limit_mib
    assert len(list(site.directory.glob("db-*/instances/*/modules/blob/*/contents.dat"))) == hosts
    assert retrieved.read_bytes() == path.read_bytes()
