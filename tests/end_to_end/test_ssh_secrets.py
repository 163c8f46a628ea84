"""Promises R15 and R16 over SSH: planted secrets are nowhere on controller and hosts but where they belong."""

import contextlib
import os
import re
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbmod import failpoints as points
from tests import figures
from tests.agents import FILE, Agent
from tests.beds.bed import Bed
from tests.beds.hosts import Host
from tests.end_to_end import canaries
from tests.end_to_end.canaries import Hit
from tests.end_to_end.sites import Site, finish
from tests.faults import failpoints

pytestmark = pytest.mark.root
CONTENTS, TOKEN, SUDO, PASSPHRASE, LICENSE = (
    canaries.make(name) for name in ("contents", "token", "sudo", "passphrase", "licence")
)
ALL = (CONTENTS, TOKEN, SUDO, PASSPHRASE, LICENSE)
SAMPLE_SECONDS = 0.05
TRAP = "var/tmp/dbmod-trap"
ASKPASS = '#!/bin/sh\ncat "$DBMOD_TRIAL_PASSPHRASE"\n'
AGENT_SOCKET = re.compile(r"SSH_AUTH_SOCK=([^;]+); .*SSH_AGENT_PID=(\d+);", re.DOTALL)


class Sampler:
    """Reads the arguments and environments of all processes, of the hosts too, again and again."""

    def __init__(self) -> None:
        self.hits: set[tuple[str, str]] = set()
        self.samples = 0
        self.programs: set[bytes] = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "Sampler":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _sample(self) -> None:
        while not self.ended.is_set():
            self.samples += 1
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    self._look(entry)
            time.sleep(SAMPLE_SECONDS)

    def _look(self, process: Path) -> None:
        for file in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                data = (process / file).read_bytes()
                if file == "cmdline":
                    self.programs.add(data)
                self.hits |= {(one.name, f"{file}: {data[:200]!r}") for one in ALL if one.is_in(data)}


class Planted:
    """A site whose host has a password for sudo, reached with a key that only an agent can open."""

    def __init__(self, site: Site, host: Host) -> None:
        self.site = site
        self.host = host
        self.started = time.time()
        self.hits: list[Hit] = []
        self.allowed: set[str] = set()
        self.searches = 0

    def run(self, *words: str, code: int = 0) -> None:
        ended = self.site.dbmod(*words)
        assert ended.code == code, ended.said
        self.search(ended.said, f"output of {' '.join(words)}")

    def search(self, text: str, where: str) -> None:
        """Search what was said, and all files of the site and of the host that were written since the beginning."""
        self.searches += 1
        self.hits += canaries.in_text(text, ALL, where=where)
        places = [self.site.directory, *(self.inside(name) for name in ("etc", "home", "root", "tmp", "var", "run"))]
        for place in places:
            for hit in canaries.in_files(place, ALL, since=self.started - 1):
                if not self.is_allowed(hit):
                    self.hits.append(hit)

    def search_journal(self) -> None:
        """Search all that the host's services, sudo and sshd wrote down."""
        journal = self.host.run("journalctl", "--no-pager", "--all", "--output=export").stdout
        assert "COMMAND=" in journal
        self.hits += canaries.in_text(journal, ALL, where="journal of the host")

    def inside(self, name: str) -> Path:
        return Path(f"/proc/{self.host.init()}/root/{name}")

    def is_allowed(self, hit: Hit) -> bool:
        """Contents of a type that is not secret and the licence in the agent's own files, for root alone; what the
        test itself wrote so that dbmod could read it.
        """
        path = Path(hit.where)
        given = path.parent == self.site.directory / "given"
        kept = (hit.canary, path.name) in {("contents", "contents.dat"), ("contents", ".contents.dat.new")}
        of_agent = hit.canary == "licence" and path.name in (Path(FILE).name, "newrelic-infra.key")
        if not (given or ((kept or of_agent) and is_private(path))):
            return False
        self.allowed.add(hit.canary)
        return True


def is_private(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    return True


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[Host]:
    """A host where sudo asks for a password, with the stand-in of the agent."""
    with bed.borrow_hosts() as hosts:
        [one] = hosts.take(1)
        one.run("chpasswd", text=f"{one.user}:{SUDO.text}\n")
        (one.root / "etc/sudoers.d/debian").write_text(f"{one.user} ALL=(ALL) ALL\n")
        Agent(one)
        yield one


@pytest.fixture
def planted(host: Host, make_site: Callable[..., Site]) -> Iterator[Planted]:
    site = make_site()
    given, person = site.directory / "given", site.directory / "person"
    for directory in (given, person):
        directory.mkdir(mode=0o700)
    site.add_machines([host])
    (given / "sudo").write_text(f"{SUDO.text}\n")
    site.environment |= {"HOME": str(person), "TMPDIR": str(person), "DBMOD_BECOME_PASSWORD_FILE": str(given / "sudo")}
    made = Planted(site, host)
    with agent_with_key(given, host.key_file) as socket:
        site.environment |= {"SSH_AUTH_SOCK": socket, "DBMOD_SSH_PRIVATE_KEY": str(given / "key")}
        yield made
    for place in (Path(tempfile.gettempdir()), Path("~/.ansible").expanduser(), Path("/var/tmp")):
        found = canaries.in_files(place, ALL, since=made.started - 1)
        made.hits += [one for one in found if not made.is_allowed(one)]
    made.search_journal()
    assert made.hits == []


@contextlib.contextmanager
def agent_with_key(given: Path, key_file: Path) -> Iterator[str]:
    """Lock a copy of the key with the passphrase, and open it in an agent of its own. Gives the agent's socket."""
    key, passphrase, askpass = given / "key", given / "passphrase", given / "askpass"
    key.write_bytes(key_file.read_bytes())
    key.chmod(0o600)
    passphrase.write_text(f"{PASSPHRASE.text}\n")
    askpass.write_text(ASKPASS)
    askpass.chmod(0o700)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", PASSPHRASE.text, "-f", str(key)], check=True)
    told = AGENT_SOCKET.search(subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout)
    assert told
    asking = {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DBMOD_TRIAL_PASSPHRASE": str(passphrase)}
    try:
        environment = os.environ | asking | {"SSH_AUTH_SOCK": told[1]}
        subprocess.run(["ssh-add", "-q", str(key)], env=environment, stdin=subprocess.DEVNULL, check=True)
        yield told[1]
    finally:
        os.kill(int(told[2]), 15)


def test_canaries_are_found_nowhere_on_controller_and_host(planted: Planted) -> None:
    """Every verb, well and failing, -vvv; arguments and environments of all processes are read all the time."""
    site = planted.site
    license_key = LICENSE.text[:32]  # no letter that the type refuses
    for start in ("good", "fail"):
        site.add_module(f"blob-{start}", f"{start} {CONTENTS.text}".encode(), kind="blob")
        site.add_module(f"token-{start}", f"{start} {TOKEN.text}".encode(), kind="token")
    site.add_module("licence", f"license_key={license_key}\n".encode(), kind="new_relic_license")
    names = [f"{kind}-{start}" for start in ("good", "fail") for kind in ("blob", "token")]
    with Sampler() as sampler:
        planted.run("module-apply", "db-00", *names, "licence", "-vvv", "--debug", code=1)
        assert Agent(planted.host).key == license_key
        planted.run("module-query", "db-00", "-vvv", "-f", "json")
        planted.run("module-reapply", "blob-good", "--force", "-vvv")
        planted.run("module-reapply", "licence", "--force", "-vvv")
        words = ("-vvv", "--diff", "--become-password-file", site.environment["DBMOD_BECOME_PASSWORD_FILE"])
        played = site.playbook("module_apply", *words, "-e", "instance=db-00", "-e", "modules=token-good")
        assert played.code == 0, played.said
        planted.search(played.said, "output of ansible-playbook")
        site.environment["DBMOD_BECOME_PASSWORD_FILE"] = str(site.directory / "given" / "passphrase")  # a wrong one
        planted.run("module-query", "db-00", "-vvv", code=4)
        site.environment["DBMOD_BECOME_PASSWORD_FILE"] = str(site.directory / "given" / "sudo")
        planted.run("module-remove", "db-00", "licence", "-vvv")
    planted.run("history", "db-00")
    assert sampler.hits == set()
    assert sampler.samples > 20
    assert any(failpoints.is_host(line) for line in sampler.programs)  # so it did see the host's processes
    assert planted.hits == []
    assert {"contents", "licence", "sudo", "passphrase"} <= planted.allowed  # so the search does see
    searches = f"{planted.searches} searches of outputs, files of both sides, the host's journal"
    figures.figure("R15", f"0 hits of {len(ALL)} canaries over SSH in {searches}")
    programs = f"{sampler.samples} samples, {len(sampler.programs)} different command lines"
    figures.figure("R16", f"0 of {len(ALL)} canaries in arguments and environments on controller and host: {programs}")


def test_canaries_are_found_nowhere_after_the_session_was_killed(planted: Planted) -> None:
    """Both sides are looked at while the host works, and after its session and its work were killed."""
    site = planted.site
    site.add_module("token", f"good {TOKEN.text}".encode(), kind="token")
    trap = planted.host.root / TRAP
    armed = {points.NAME: "before_type", points.FILE: f"/{TRAP}"}
    command = site.start("module-apply", "db-00", "token", "-vvv", **armed)
    failpoints.until(lambda: trap.exists() and trap.read_text(), bool, "the failpoint on the host")
    planted.search("", "")
    planted.host.run("pkill", "-KILL", "-u", planted.host.user, check=False)
    planted.host.run("kill", "-KILL", *trap.read_text().split())
    ended = finish(command)
    trap.unlink()
    planted.search(ended.said, "output of the command whose session was killed")
    assert ended.code == 1, ended.said
    assert site.dbmod("reconcile", "db-00").code in (0, 1)
    site.settled = True
    figures.figure("R15", f"0 hits of {len(ALL)} canaries while a host works, and after its session was killed")
