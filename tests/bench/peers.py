"""The ping job on real SSH hosts, beside stock ansible-playbook, pyinfra and asyncssh. Needs root.

Each puts contents on every host, privately, has them read there, and brings the message back, over new connections.
`ansible-playbook` has Ansible's own settings but for pipelining, `tuned` those of dbmod's ansible.cfg. A shell line is
what its tool takes for itself and the least that does the job: it compares nothing, and writes in place each time.
Aim at 100 hosts: ansible-playbook at least 2.5 times slower than dbmod, dbmod at most 1.5 times as slow as pyinfra.

python -m tests.bench.peers [--release RELEASE] [HOSTS …]    the hosts' RELEASE as in tests/beds/build_images.sh
"""

import argparse
import contextlib
import hashlib
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from dbmod import paths
from tests.beds import cache
from tests.beds.bed import Bed
from tests.beds.hosts import Host, Hosts
from tests.bench import _measure
from tests.end_to_end.sites import Site

COUNTS, ROUNDS, AT_ONCE = (10, 50, 100), 3, 50
TUNED = {"ANSIBLE_CONFIG": str(paths.content() / "ansible.cfg")}
QUICK = "curve25519-sha256"  # as pyinfra and asyncssh take it; ssh's own first choice costs 120 ms more a host here
PACKAGES = ("pyinfra>=3.5,<4", "asyncssh>=2.18")
FILE = "/var/lib/peers/contents"
JOB = f"umask 077 && mkdir -p /var/lib/peers && printf message=hello > {FILE} && cat {FILE}"
STOCK = """
- hosts: all
  gather_facts: false
  tasks:
    - dbmod_ping:
        contents: message=hello
        name: stock
"""
RAW = """
- hosts: all
  gather_facts: false
  tasks:
    - raw: {job}
"""
PYINFRA = f"""
import io
from pyinfra.operations import files, server
files.directory(path="/var/lib/peers", mode="700", _sudo=True)
files.put(src=io.StringIO("message=hello"), dest="{FILE}", mode="600", _sudo=True)
server.shell(commands=["cat {FILE}"], _sudo=True)
"""
PYINFRA_SHELL = f"""
from pyinfra.operations import server
server.shell(commands=[{JOB!r}], _sudo=True)
"""
ASYNCSSH = """
import asyncio, sys, asyncssh
async def one(host, at_once):
    async with at_once, asyncssh.connect(
        host, username={user!r}, client_keys=[{key!r}], known_hosts={known_hosts!r}, config=None
    ) as connection:
        ended = await connection.run({job!r}, check=True)
        assert ended.stdout == "message=hello"
async def main():
    at_once = asyncio.Semaphore({at_once})
    await asyncio.gather(*(one(host, at_once) for host in sys.argv[1:]))
asyncio.run(main())
"""


def main(counts: Sequence[int], release: str) -> None:
    programs = _environment()
    with contextlib.closing(Bed()) as bed, bed.borrow_hosts() as lent, tempfile.TemporaryDirectory() as place:
        _measure.headline(f"The ping job beside its peers, {ROUNDS} rounds in turn, at most {AT_ONCE} hosts at once")
        ssh = subprocess.run(["ssh", "-V"], check=True, capture_output=True, text=True).stderr.split(",")[0]
        print(f"  {ssh}, hosts of {release}, ansible-core {metadata.version('ansible-core')}")
        machines: list[Host] = []
        for count in counts:
            machines += lent.take(count - len(machines), release=release)
            _compare(lent, machines, Path(place, str(count)), programs)


def _environment() -> Path:
    """Make a virtual environment of the peers' own, once. Returns its bin."""
    place = cache.CACHE / "peers"
    if not (place / "bin" / "pyinfra").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(place / "bin" / "pip"), "install", "--quiet", *PACKAGES], check=True)
    return place / "bin"


def _compare(lent: Hosts, machines: Sequence[Host], place: Path, programs: Path) -> None:
    place.mkdir()
    site = Site(place / "site")
    site.add_machines(machines)
    site.add_module("mymod", b"message=hello\n")
    quick = TUNED | {"ANSIBLE_SSH_EXTRA_ARGS": f"-o KexAlgorithms=^{QUICK}"}
    jobs = {
        "dbmod": _dbmod(site),
        "ansible-playbook": _stock(lent, machines, place),
        "ansible, tuned": _ansible(lent, machines, place, STOCK, **TUNED),
        "dbmod, quick keys": _dbmod(site, DBMOD_SSH_KEY_EXCHANGE=QUICK),
        "ansible, tuned, quick keys": _ansible(lent, machines, place, STOCK, **quick),
        "ansible, a shell": _ansible(lent, machines, place, RAW.format(job=JOB), **quick),
        "pyinfra": _pyinfra(machines, place, programs, PYINFRA),
        "pyinfra, a shell": _pyinfra(machines, place, programs, PYINFRA_SHELL),
        "asyncssh, a shell": _asyncssh(machines, place, programs),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(ROUNDS + 1):  # the first warms everything up
        for name, work in jobs.items():
            seconds = _measure.seconds(work)
            if number:
                times[name].append(seconds)
    print(f"  {len(machines)} hosts")
    for name, taken in times.items():
        ratios = [
            statistics.median(other / own for other, own in zip(taken, times[ours], strict=True))
            for ours in ("dbmod", "dbmod, quick keys")
        ]
        shown = f"{ratios[0]:5.2f} times dbmod's, {ratios[1]:5.2f} times that with quick keys"
        print(f"    {name:<26} {statistics.median(taken):6.1f} s   {shown}")


def _dbmod(site: Site, **environment: str) -> Callable[[], None]:
    site.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as users'
    words = ("module-apply", "--all", "--module", "mymod", "-q", "--batch_size", "1000")

    def run() -> None:
        site.well(*words, **environment)

    return run


def _ansible(lent: Hosts, machines: Sequence[Host], place: Path, plays: str, **more: str) -> Callable[[], None]:
    inventory = lent.write_inventory(place / "hosts.yml", machines, ansible_become=True)
    playbook = place / f"{_short(plays)}.yml"
    playbook.write_text(plays)
    program = Path(sys.executable).parent / "ansible-playbook"
    words = [str(program), "-i", str(inventory), str(playbook)]
    return _measure.command(words, {"ANSIBLE_FORKS": str(AT_ONCE), **more})


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _stock(lent: Hosts, machines: Sequence[Host], place: Path) -> Callable[[], None]:
    """Give what Ansible does by its own defaults, but for pipelining and as many hosts at once as the others."""
    content = paths.content()
    found = {"ANSIBLE_LIBRARY": str(content / "library"), "ANSIBLE_MODULE_UTILS": str(content / "dbmod/hostside")}

    def run() -> None:
        with tempfile.TemporaryDirectory() as sockets:  # of its own, or the next round has its connections already
            Path(sockets, "ansible.cfg").touch()
            apart = {"ANSIBLE_CONFIG": f"{sockets}/ansible.cfg", "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets}
            _ansible(lent, machines, place, STOCK, ANSIBLE_PIPELINING="True", **apart, **found)()

    return run


def _pyinfra(machines: Sequence[Host], place: Path, programs: Path, operations: str) -> Callable[[], None]:
    deploy, inventory = place / f"{_short(operations)}.py", place / "inventory.py"
    deploy.write_text(operations)
    login = {
        "ssh_user": Host.user,
        "ssh_key": str(machines[0].key_file),
        "ssh_known_hosts_file": str(machines[0].known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
    inventory.write_text(f"hosts = {[(one.address, login) for one in machines]!r}\n")
    words = [str(programs / "pyinfra"), "-y", "--parallel", str(AT_ONCE), str(inventory), str(deploy)]
    return _measure.command(words)


def _asyncssh(machines: Sequence[Host], place: Path, programs: Path) -> Callable[[], None]:
    script = place / "by_hand.py"
    login = {"user": Host.user, "key": str(machines[0].key_file), "known_hosts": str(machines[0].known_hosts)}
    script.write_text(ASYNCSSH.format(job=f"sudo sh -c {shlex.quote(JOB)}", at_once=AT_ONCE, **login))
    words = [str(programs / "python"), str(script), *(one.address for one in machines)]
    return _measure.command(words)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", default=cache.RELEASE)
    parser.add_argument("counts", metavar="HOSTS", type=int, nargs="*", default=COUNTS)
    given = parser.parse_args()
    main(given.counts, given.release)
