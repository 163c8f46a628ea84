"""What the host remembers: late and busy runs, damaged and forged files, what survives a failure and a removal."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dbmod.hostside import dbmod_files
from tests import hosts

Figure = Callable[[str, str], None]
V1, V2 = b"message=Module.V1\n", b"message=Module.V2\n"
MIB = 1 << 20


@pytest.fixture
def host(tmp_path: Path) -> hosts.Host:
    return hosts.Host(tmp_path)


def test_a_late_run_is_refused(host: hosts.Host) -> None:
    assert host.apply("ping", V2, serial=7).result.status == "OK"
    for sent in (host.apply("ping", V1, serial=6), host.remove("ping", serial=6)):
        assert sent.result.status == "ERROR"
        assert sent.result.message == "refused: serial 6 is older than 7, which wrote here last"
        assert sent.result.evidence is None
    assert host.look("query", "ping").result.message == "Module.V2"
    assert host.apply("ping", V1, serial=7).result.status == "OK"


def test_an_instance_that_another_run_works_on_is_busy(host: hosts.Host) -> None:
    assert host.apply("ping", V1).result.status == "OK"
    with dbmod_files.folder(str(host.home), ["instances", hosts.INSTANCE]) as folder:
        assert folder is not None
        with dbmod_files.locked(folder, True, 1):
            sent = host.apply("ping", V2, serial=2, lock_wait_seconds=0.2)
            assert sent.answer.finished
            assert sent.result.message == "another run works on this instance (waited 0.2 s)"
            look = host.look("query", "ping", lock_wait_seconds=0.2)
            assert look.answer.results == ()
            assert look.answer.problem == "another run works on this instance (waited 0.2 s)"
    assert (host.folder("ping") / "contents.dat").read_bytes() == V1


def damage(folder: Path, name: str) -> None:
    """Do to a module's folder what an administrator, a cloned image or an intruder would."""
    contents, result, elsewhere = folder / "contents.dat", folder / "result.json", folder.parent / "elsewhere"
    if name in FORGED:
        result.write_text(json.dumps({**json.loads(result.read_text()), **FORGED[name]}))
        return
    damaged = result if name.startswith("result") else contents
    shutil.copy(damaged, elsewhere)
    DAMAGES[name](damaged, elsewhere)


def replace_by(make: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    return lambda path, elsewhere: (path.unlink(), make(path, elsewhere))


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "changed": lambda path, _: path.write_bytes(b"message=forged\n"),
    "truncated": lambda path, _: path.write_bytes(b""),
    "deleted": lambda path, _: path.unlink(),
    "symbolic link": replace_by(Path.symlink_to),
    "hard link": replace_by(Path.hardlink_to),
    "directory": replace_by(lambda path, _: path.mkdir()),
    "mode": lambda path, _: path.chmod(0o644),
    "result cut": lambda path, _: path.write_bytes(path.read_bytes()[:-20]),
    "result deep": lambda path, _: path.write_text("[" * 60_000),
    "result large": lambda path, _: path.write_bytes(bytes(MIB)),
    "result a link": replace_by(Path.symlink_to),
}
FORGED: dict[str, dict[str, object]] = {
    "another instance": {"instance": "other"},
    "another machine": {"machine": "0" * 32},
    "another digest": {"sha256": "0" * 64},
    "a field too many": {"more": 1},
    "a field of a wrong kind": {"serial": "9"},
}
DAMAGED = {
    "changed": ("drifted", "contents.dat is not what was applied"),
    "truncated": ("drifted", "contents.dat is not what was applied"),
    "deleted": ("missing", "contents.dat is missing"),
    "symbolic link": ("missing", "contents.dat is a link"),
    "hard link": ("drifted", "contents.dat has a second name"),
    "directory": ("missing", "contents.dat is not a file"),
    "mode": ("drifted", "contents.dat has mode 0644"),
    "result cut": ("unknown", "result.json is damaged"),
    "result deep": ("unknown", "result.json is damaged"),
    "result large": ("unknown", "result.json is damaged"),
    "result a link": ("unknown", "result.json is damaged"),
    "another instance": ("unknown", "result.json names another instance"),
    "another machine": ("unknown", "result.json names another machine"),
    "another digest": ("drifted", "contents.dat is not what was applied"),
    "a field too many": ("unknown", "result.json is damaged"),
    "a field of a wrong kind": ("unknown", "result.json is damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_seen_named_and_keeps_to_its_module(host: hosts.Host, name: str, figure: Figure) -> None:
    modules = [hosts.module("ping", V1), hosts.module("ping", V2, "other")]
    assert host.send(host.request("apply", *modules), [V1, V2]).answer.finished
    damage(host.folder("ping"), name)
    before = hosts.snapshot(host.home)
    answer = host.send(host.request("query")).answer
    results = {result.module: result for result in answer.results}
    assert (results[hosts.MODULE].note, results[hosts.MODULE].detail) == DAMAGED[name]
    assert (results["other"].note, results["other"].message) == ("", "Module.V2")
    if DAMAGED[name][0] == "unknown":
        assert results[hosts.MODULE].evidence is None
    assert hosts.snapshot(host.home) == before
    if name != "directory":  # somebody put that there: it is theirs to take away
        healed = host.apply("ping", V1, serial=9).result
        assert (healed.status, healed.message) == ("OK", "Module.V1")
        assert host.look("query", "ping").result.note == ""
    figure("R25", f"{name}: reported as {DAMAGED[name][0]}, nothing followed or repaired unasked")


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("ping")], ids=["file", "link"])
def test_a_strangers_file_among_the_types_hides_no_module(host: hosts.Host, make: Callable[[Path], object]) -> None:
    assert host.apply("ping", V1).result.status == "OK"
    make(host.directory / "modules/strange")
    answer = host.send(host.request("query")).answer
    assert [(one.type, one.note, one.message) for one in answer.results] == [("ping", "", "Module.V1")]
    assert answer.finished
    assert answer.problem == "strange is not a folder of dbmod's own"


@pytest.mark.parametrize(
    ("query", "note", "detail"),
    [
        ("return ''", "", ""),
        ("return 'it is gone'", "missing", "it is gone"),
        ("return 'overridden by x'", "drifted", "overridden by x"),
        ("raise kit.Refused('the server does not answer')", "unknown", "the server does not answer"),
        ("raise ValueError('secret')", "unknown", "ValueError in mine's query"),
        ("raise OSError(28, 'secret')", "unknown", "OSError (No space left on device) in mine's query"),
        ("raise OSError(-2, 'secret')", "unknown", "OSError in mine's query"),  # as a name that is not found
        ("raise OSError('secret', 'secret')", "unknown", "OSError in mine's query"),
        ("time.sleep(60)", "unknown", "timed out after 0.5 s"),
    ],
)
def test_a_type_that_cannot_tell_is_not_taken_for_one_that_misses_something(
    host: hosts.Host, query: str, note: str, detail: str
) -> None:
    source = hosts.ACCEPT + f"\ndef query(host):\n    {query}\n"
    assert hosts.send_as(host, source, V1).result.status == "OK"
    request = host.request("query", hosts.module("mine", b""), time_limit_seconds=0.5)
    look = host.send(request, sources={"mine": source}).result
    assert (look.note, look.detail) == (note, detail)


def test_servers_of_one_host_wait_where_they_share_what_changes(host: hosts.Host, tmp_path: Path) -> None:
    """The first takes longer than another run of the same server would be waited for."""
    source = hosts.type_source(
        f"os.mkdir({str(tmp_path / 'mark')!r})\ntime.sleep(1)\nos.rmdir({str(tmp_path / 'mark')!r})\n"
        "return kit.Outcome(True, 'alone')",
        header="DECLARES = kit.Declares(scope='host')",
    )

    def send(instance: str) -> hosts.Sent:
        return hosts.send_as(host, source, V1, instance=instance, lock_wait_seconds=0.1, time_limit_seconds=20)

    with ThreadPoolExecutor() as pool:
        messages = [sent.result.message for sent in pool.map(send, ["one", "two", "three"])]
    assert messages == ["alone"] * 3


def test_a_folder_that_is_a_link_is_never_entered(host: hosts.Host, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    host.directory.mkdir(parents=True, mode=0o700)
    (host.directory / "modules").symlink_to(tmp_path / "outside")
    sent = host.apply("ping", V1)
    assert (sent.result.status, sent.result.message) == ("ERROR", "modules is not a folder of dbmod's own")
    assert list((tmp_path / "outside").iterdir()) == []


def test_failed_contents_are_an_error_with_evidence_and_created_survives(host: hosts.Host) -> None:
    first = host.apply("ping", V1).result.evidence
    failed = host.apply("ping", b"nothing\n", run="run-2", serial=2).result
    removed = host.remove("ping", run="run-3", serial=3).result.evidence
    back = host.apply("ping", V1, run="run-4", serial=4).result.evidence
    assert first and failed.evidence and removed and back
    assert (failed.status, failed.evidence.status, failed.evidence.run) == ("ERROR", "ERROR", "run-2")
    assert {first.created, failed.evidence.created, removed.created, back.created} == {first.created}
    assert removed.removed is not None and back.removed is None
    assert removed.sha256 == failed.evidence.sha256, "a removal tells the version that was there"
    assert first.updated < failed.evidence.updated < removed.updated < back.updated


def test_a_type_that_became_secret_leaves_no_contents(host: hosts.Host) -> None:
    assert hosts.send_as(host, hosts.ACCEPT, V1).result.status == "OK"
    assert (host.folder("mine") / "contents.dat").exists()
    secret = hosts.ACCEPT + "\nDECLARES = kit.Declares(secret=True)\n"
    assert hosts.send_as(host, secret, V1, serial=2).result.changed is False
    assert not (host.folder("mine") / "contents.dat").exists()
