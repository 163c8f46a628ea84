"""A machine of a bed: a container with its own systemd, sshd, network namespace and file system, and faults for it."""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from tests.beds import network
from tests.beds.commands import run, within

HOST_KEY_TYPES = ("ed25519", "ecdsa")
THAWS = 5
LOGINS = {"root": ("root", 0), "debian": ("home/debian", 1000)}  # home below the root, uid


def wait_until(is_true: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


def children(process: int) -> list[int]:
    """List child processes, from the kernel's own list: a fault has to come at its moment, also on a busy machine."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def make_host_keys(root: Path) -> None:
    """Give the file system *root* host keys that no other has."""
    for kind in HOST_KEY_TYPES:
        file = root / f"etc/ssh/ssh_host_{kind}_key"
        file.unlink(missing_ok=True)
        comment = f"root@{(root / 'etc/hostname').read_text().strip()}"
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(file))


class Machine:
    """A running machine, seen from outside.

    name             also of its network namespace
    pid_file         process id of its supervisor
    login_options    options of ssh that check its host key and log in
    """

    user = "debian"

    def __init__(self, *, name: str, switch: str, address: str, root: Path, pid_file: Path) -> None:
        self.name = name
        self.switch = switch
        self.address = address
        self.root = root
        self.pid_file = pid_file
        self.login_options: list[str] = []

    def __repr__(self) -> str:
        return f"{self.name} ({self.address})"

    @property
    def host_keys(self) -> tuple[str, ...]:
        """Its public host keys: "ssh-ed25519 AAAA…"."""
        files = sorted((self.root / "etc/ssh").glob("ssh_host_*_key.pub"))
        return tuple(" ".join(file.read_text().split()[:2]) for file in files)

    def init(self) -> int:
        """Say which process of this machine is the first one inside; raises LookupError when it is down."""
        try:
            supervisor = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            raise LookupError(f"{self.name} is down") from None
        for nspawn in children(supervisor):
            for first in children(nspawn):
                return first
        raise LookupError(f"{self.name} is down")

    def processes(self) -> list[int]:
        """List its processes, by this machine's numbers."""
        inside = _pid_namespace(self.init())
        entries = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [process for process in entries if _pid_namespace(process) == inside]

    def run(self, *command: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root, without ssh."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        enter = ("nsenter", "--target", str(self.init()), "--all", "--root", "--wd", "--")
        return run(*enter, "env", "-i", path, "HOME=/root", "LC_ALL=C", *command, check=check, text=text)

    def ssh_command(self, *command: str, user: str | None = None) -> list[str]:
        return ["ssh", *self.login_options, f"{user or self.user}@{self.address}", shlex.join(command)]

    def ssh(self, *command: str, user: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command by ssh; its host key is checked."""
        return run(*self.ssh_command(*command, user=user), check=check)

    def wait_for_ssh(self, seconds: float = 60) -> Self:
        wait_until(lambda: self.ssh("true", check=False).returncode == 0, f"{self.name} answers by ssh", seconds)
        return self

    # Faults

    def freeze(self) -> None:
        """Stop every process; the kernel still accepts connections."""
        stopped: set[int] = set()
        while new := set(self.processes()) - stopped:
            self._signal_all(new, signal.SIGSTOP)
            stopped |= new

    def thaw(self) -> None:
        """Let every process go on; sudo stops itself once more when it sees that its command was stopped."""
        for _ in range(THAWS):
            self._signal_all(self.processes(), signal.SIGCONT)
            time.sleep(0.1)

    def cut_network(self) -> None:
        """Pull the cables: no address answers, not even to ARP."""
        self._set_ports("down")

    def drop_packets(self) -> None:
        """Swallow every packet: a connection neither fails nor succeeds."""
        rules = "".join(
            f"chain {hook} {{ type filter hook {hook} priority 0; policy drop; }}\n" for hook in ("input", "output")
        )
        run(*within(self.name, "nft", "-f", "-"), text=f"table inet faults {{\n{rules}}}\n")

    def restore_network(self) -> None:
        """Undo both."""
        run(*within(self.name, "nft", "delete", "table", "inet", "faults"), check=False)
        self._set_ports("up")

    def stop_ssh(self) -> None:
        """Refuse connections; those that are open stay."""
        self.run("systemctl", "stop", "ssh.service", "ssh.socket", check=False)

    def start_ssh(self) -> None:
        self.run("systemctl", "start", "ssh.service")

    def kill(self) -> None:
        """Kill the first process, and with it all others: as if the power had failed, but for the disk's cache."""
        os.kill(self.init(), signal.SIGKILL)
        wait_until(lambda: not self.is_running(), f"{self.name} is down")

    def is_running(self) -> bool:
        return self._first_process() is not None

    def reboot(self) -> None:
        """Reboot from inside, and return when ssh answers again."""
        with self.rebooting():
            self.run("systemctl", "--no-block", "reboot")

    @contextlib.contextmanager
    def rebooting(self) -> Iterator[None]:
        """Wait, at the end, until the machine has booted once more and ssh answers: never on the boot before."""
        before = self.init()
        yield
        self.wait_for_boot(before)
        self.wait_for_ssh()

    def wait_for_boot(self, before: int) -> None:
        """Wait until its first process is another one; it need not let tests log in."""
        wait_until(lambda: self._first_process() not in {None, before}, f"{self.name} boots again", 60)

    def small_disk(self, directory: str, *, size_bytes: int) -> None:
        """Mount a small empty disk over a directory, until the machine's next boot."""
        self.run("mkdir", "-p", directory)
        self.run("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "tmpfs", directory)

    @contextlib.contextmanager
    def filled(self, directory: str, *, leave_bytes: int = 0) -> Iterator[None]:
        """Fill the disk that a directory is on, but for *leave_bytes*; use it with small_disk."""
        file = f"{directory}/filling"
        status = os.statvfs(f"/proc/{self.init()}/root{directory}")
        self.run("fallocate", "-l", str(status.f_bavail * status.f_frsize - leave_bytes), file)
        try:
            yield
        finally:
            self.run("rm", "-f", file)

    def change_host_keys(self) -> None:
        """Make new host keys; connections from now on see them."""
        make_host_keys(self.root)
        self.run("systemctl", "restart", "ssh.service")

    def _first_process(self) -> int | None:
        try:
            return self.init()
        except LookupError:
            return None

    def _signal_all(self, processes: list[int] | set[int], number: signal.Signals) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _set_ports(self, state: str) -> None:
        """Set the far ends of its cables, which lie in the slot's namespace, so that its own routes stay."""
        wanted = [f"link set {port} {state}" for port in self._ports()]
        network.batch(self.switch, *wanted)

    def _ports(self) -> list[str]:
        peers = {link["link_index"] for link in network.links(self.name) if "link_index" in link}
        return [link["ifname"] for link in network.links(self.switch) if link["ifindex"] in peers]


def _pid_namespace(process: int) -> int | None:
    try:
        return Path(f"/proc/{process}/ns/pid").stat().st_ino
    except OSError:  # it ended, or is a zombie
        return None
