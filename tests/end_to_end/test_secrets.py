"""Promises R15 and R16: planted secrets are found nowhere but where they belong."""

import base64
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import figures
from tests.end_to_end import canaries
from tests.end_to_end.canaries import Canary, Hit
from tests.end_to_end.sites import Site, finish
from tests.faults import failpoints

CONTENTS, TOKEN, UNRELATED, PASSWORD = (canaries.make(name) for name in ("contents", "token", "unrelated", "password"))
KEY = Canary(name="key", text=base64.b64encode(os.urandom(32)).decode())
AGENT = "/nowhere/agent.4f1c"  # SSH_AUTH_SOCK: no secret, and needed by ssh
ALL = (CONTENTS, TOKEN, UNRELATED, PASSWORD, KEY)


class Planted:
    """A site with canaries in it, and all that was seen of them in places where none may be."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.started = time.time()
        self.searches = 0
        self.hits: list[Hit] = []
        self.allowed: list[Hit] = []

    def modules(self, names: tuple[str, ...] = ("good", "fail", "crash")) -> None:
        """Register modules by the command, contents on standard input."""
        for start in names:
            for kind, canary in (("blob", CONTENTS), ("token", TOKEN)):
                words = ("module-create", f"{kind}-{start}", kind, "-", "--live_update", "--debug")
                self.run(*words, stdin=f"{start} {canary.text}".encode())

    def run(self, *words: str, stdin: bytes = b"", **environment: str) -> int:
        ended = self.site.dbmod(*words, stdin=stdin, **environment)
        self.search(ended.out + ended.err, f"output of {' '.join(words)}")
        return ended.code

    def search(self, text: str = "", where: str = "") -> None:
        """Search the words, and everything below the site, which has the home and temporary directories of its user."""
        self.searches += 1
        self.hits += canaries.in_text(text, ALL, where=where)
        self.search_files(self.site.directory)

    def search_files(self, directory: Path) -> None:
        for hit in canaries.in_files(directory, ALL, since=self.started - 1):
            (self.allowed if self.is_allowed(hit) else self.hits).append(hit)

    def is_allowed(self, hit: Hit) -> bool:
        """Contents of a type that is not secret, on their host; the key in a living run's own directory."""
        path = Path(hit.where)
        on_host = hit.canary == "contents" and path.name in ("contents.dat", ".contents.dat.new")
        of_run = hit.canary == "key" and path.name == "key" and path.parent.parent == self.site.home / "runs"
        return (on_host or of_run) and is_private(path)


def is_private(path: Path) -> bool:
    """Tell whether nobody else can read a file: 0600 in a 0700 directory; one that is gone again was not seen."""
    try:
        file, folder = path.stat(), path.parent.stat()
    except FileNotFoundError:
        return True
    return stat.S_IMODE(file.st_mode) == 0o600 and stat.S_IMODE(folder.st_mode) == 0o700


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, make_site: Callable[..., Site]) -> Iterator[Planted]:
    """A site with canaries; at the end they are looked for once more, everywhere."""
    monkeypatch.setenv("DBMOD_KEY", KEY.text)  # the checker reads contents too
    site = make_site(
        DBMOD_KEY=KEY.text,
        AWS_SECRET_ACCESS_KEY=UNRELATED.text,
        SSH_AUTH_SOCK=AGENT,
    )
    person = site.directory / "person"
    person.mkdir()
    site.environment |= {"HOME": str(person), "TMPDIR": str(person)}
    planted = Planted(site)
    yield planted
    for place in (Path(tempfile.gettempdir()), Path("~/.ansible").expanduser(), Path("/var/tmp")):
        planted.search_files(place)
    assert planted.hits == []


def test_forms_of_a_canary_are_found() -> None:
    """The search itself must see: raw, JSON, URL, hex and base64 at each offset."""
    import json
    import urllib.parse

    for text in (TOKEN.text, json.dumps(TOKEN.text), urllib.parse.quote(TOKEN.text), TOKEN.text.encode().hex()):
        assert TOKEN.is_in(text.encode())
    for offset in range(4):
        assert TOKEN.is_in(base64.b64encode(b"x" * offset + TOKEN.text.encode()))
    assert KEY.is_in(base64.b64encode(KEY.text.encode()))
    assert not CONTENTS.is_in(TOKEN.text.encode())


def test_canaries_are_found_nowhere_after_every_verb(planted: Planted) -> None:
    planted.site.add_hosts(1)
    planted.modules()
    names = [f"{kind}-{start}" for start in ("good", "fail", "crash") for kind in ("blob", "token")]
    assert planted.run("module-apply", "db-0", *names, "-vvv", "--debug") == 1
    assert planted.run("module-query", "db-0", "-vvv", "-f", "json") == 0
    assert planted.run("module-reapply", "blob-good", "--force", "-vvv") == 0
    assert planted.run("module-reapply", "token-crash", "-v") == 1
    assert planted.run("module-retrieve", "db-0", "--directory", str(planted.site.home / "got"), "-vvv") == 0
    retrieved = [one for one in planted.hits if one.where.startswith(str(planted.site.home / "got"))]
    assert {one.canary for one in retrieved} <= {"contents"}
    assert all(is_private(Path(one.where)) for one in retrieved)
    planted.hits = [one for one in planted.hits if one not in retrieved]
    for path in (planted.site.home / "got").iterdir():
        path.unlink()
    check = ("-vvv", "--check", "--diff", "-e", "instance=db-0", "-e")
    for playbook, given in (
        ("module_apply", "modules=blob-good,token-fail,token-crash"),
        ("module_remove", "module=token-good"),
    ):
        ended = planted.site.playbook(playbook, *check, given)
        planted.search(ended.said, f"output of {playbook} --check")
    for name in names:
        planted.run("module-remove", "db-0", name, "-vvv")
    for words in (("history", "db-0"), ("run-list",), ("ledger-check",), ("config",), ("module-list-instance", "db-0")):
        assert planted.run(*words, "--debug") == 0
    assert planted.hits == []
    assert "contents" in {one.canary for one in planted.allowed}
    searches = f"{planted.searches} searches, each verb, failing and well, -vvv, --check"
    figures.figure("R15", f"0 hits of {len(ALL)} canaries in {searches}")


@pytest.mark.parametrize(
    "point",
    [
        "before_send",
        "mid_copy",
        *(pytest.param(one, marks=pytest.mark.nightly) for one in ("before_type", "before_record")),
    ],
)
def test_canaries_are_found_nowhere_while_it_runs_and_after_a_kill(planted: Planted, point: str) -> None:
    site = planted.site
    site.add_hosts(1)
    planted.modules(("good",))
    trap = failpoints.Trap(point, site.directory / "trap")
    names = ("blob-good", "token-good") if point != "before_type" else ("token-good",)
    command = site.start("module-apply", "db-0", *names, "-vvv", **trap.environment)
    trap.wait(1)
    working = failpoints.processes(site.home)
    others = [pid for pid, line in working.items() if not failpoints.is_command(line)]
    hits = canaries.in_processes(others, ALL, files=("cmdline", "environ"))
    hits += canaries.in_processes([command.pid], ALL, files=("cmdline",))
    assert hits == []
    assert others
    passed = [Path(f"/proc/{pid}/environ").read_bytes() for pid in others]
    assert all(f"SSH_AUTH_SOCK={AGENT}".encode() in one for one in passed)
    planted.search()
    assert "key" in {one.canary for one in planted.allowed}  # so the search does see
    failpoints.kill(working)
    ended = finish(command)
    planted.search(ended.said, "output of the killed command")
    assert planted.run("run-list") == 0
    assert list((site.home / "runs").glob("*/")) == []  # a killed run's directory, with the key in it
    assert planted.run("module-apply", "db-0", *names) == 0
    assert site.dbmod("reconcile", "--all").code == 0
    site.settled = True


@pytest.mark.root
@pytest.mark.nightly
def test_password_of_a_user_is_found_nowhere(planted: Planted) -> None:
    assert planted.run(
        "create", "db", "15", "--size", "1", "--users", "app", "-vvv", stdin=f"{PASSWORD.text}\n".encode()
    ) in (0, 2)
    simple = PASSWORD.text[:32]
    assert (
        planted.run("create", "db2", "15", "--size", "1", "--users", "app", "-vvv", stdin=f"{simple}\n".encode()) == 0
    )
    shown = planted.site.well("show", "db2", "-f", "json").json()
    client = ["redis-cli", "-p", str(shown["port"]), "--user", "app", "--no-auth-warning", "set", "key", "value"]
    told = subprocess.run(
        client, env=os.environ | {"REDISCLI_AUTH": simple}, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "OK"  # so the password did arrive
    planted.search()
    for name in [one["Name"] for one in planted.site.well("list", "-f", "json").json()]:
        assert planted.run("delete", name, "--yes", "-vvv") == 0


def test_no_canary_is_in_any_argv_or_foreign_environment(planted: Planted) -> None:
    """strace sees every execve with its arguments and its environment."""
    site = planted.site
    site.add_hosts(1)
    planted.modules(("good",))
    log = site.directory / "person" / "strace"
    command = [sys.executable, "-m", "dbmod", "module-apply", "db-0", "blob-good", "token-good", "-v"]
    tracer = ["strace", "-f", "-v", "-e", "trace=execve", "-s", "4096", "-o", str(log)]
    subprocess.run([*tracer, *command], env=site.environment, cwd=site.directory, capture_output=True, check=True)
    calls = [line for line in log.read_text(errors="replace").splitlines() if "execve(" in line]
    log.unlink()
    first, *others = calls
    assert "-m" in first
    assert len(others) >= 3
    assert canaries.in_text("\n".join(others), ALL, where="execve") == []
    figures.figure("R16", f"0 of {len(ALL)} canaries in arguments and environments of {len(others)} programs")
