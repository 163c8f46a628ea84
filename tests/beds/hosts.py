"""SSH hosts: machines of a bed that somebody set up already, as many as a test takes, each used by one test alone."""

import itertools
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from tests.beds import apt_proxy, cache, machines, network
from tests.beds.commands import run, within
from tests.beds.slots import Slot

SCRIPTS = Path(__file__).parent
HOSTS_PER_NETWORK = 3800
BEHIND_BRIDGE = "inside"


class Host(machines.Machine):
    """A host and its files.

    image    "databases" or "plain"
    release  of the distribution, as build_images.sh knows it
    bastion  the host through which alone it is reached, or None
    """

    def __init__(
        self, slot: Slot, index: int, *, image: str, release: str = cache.RELEASE, bastion: "Host | None" = None
    ) -> None:
        name = f"{slot.name}h{index}"
        self.directory = slot.directory / "hosts" / name
        third, fourth = index // 250, index % 250 + 2
        super().__init__(
            name=name,
            switch=slot.name,
            address=slot.address(16 + third if bastion else third, fourth),
            root=self.directory / "root",
            pid_file=self.directory / "pid",
        )
        self.slot = slot
        self.image = cache.image(image, release)
        self.bastion = bastion
        self.key_file = slot.directory / "key"
        self.known_hosts = slot.directory / "known_hosts"
        self.login_options = login_options(self.key_file, self.known_hosts)
        if bastion:
            hop = ["ssh", *bastion.login_options, "-W", "%h:%p", f"{bastion.user}@{bastion.address}"]
            self.login_options += ["-o", f"ProxyCommand={' '.join(hop)}"]

    def start(self) -> None:
        """Boot it; returns at once."""
        with (self.directory / "console.log").open("ab") as log:
            process = subprocess.Popen(
                within(self.slot.name, str(SCRIPTS / "boot_machine.sh"), self.name, str(self.root)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.supervisor = process
        self.pid_file.write_text(f"{process.pid}\n")

    def rebuild(self) -> None:
        """Give it a fresh file system and new host keys, as a server that is rebuilt from its image."""
        self.stop()
        self.make_file_system()
        self.start()
        write_known_hosts(self.slot, [self])
        self.wait_for_ssh()

    def stop(self) -> None:
        if self.is_running():
            self.kill()
        self.supervisor.wait(timeout=30)
        run("umount", "--lazy", str(self.root), check=False)

    def make_file_system(self) -> None:
        """Mount an empty layer over the image, and write what makes this host different from others."""
        run("rm", "-rf", "--one-file-system", *(str(self.directory / part) for part in ("upper", "work", "root")))
        for part in ("upper", "work", "root"):
            (self.directory / part).mkdir(parents=True)
        layers = {"lowerdir": self.image, "upperdir": self.directory / "upper"}
        options = ",".join(f"{name}={path}" for name, path in {**layers, "workdir": self.directory / "work"}.items())
        # volatile: no write waits for the disk; what these hosts survive is kill -9, not a power cut
        run("mount", "-t", "overlay", self.name, "-o", f"{options},volatile", str(self.root))
        proxy = apt_proxy.configuration(network.controller(self.slot))
        (self.root / "etc/apt/apt.conf.d/00proxy").write_text(proxy)
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {self.name}\n")
        machines.make_host_keys(self.root)
        authorize(self.root, self.key_file.with_suffix(".pub").read_text())

    def plug(self) -> None:
        run("ip", "netns", "add", self.name)
        bridge = BEHIND_BRIDGE if self.bastion else network.HOSTS_BRIDGE
        network.plug(self.slot, self.name, bridge=bridge, device="eth0", address=self.address)
        if not self.bastion:
            network.batch(self.name, f"route add default via {self.slot.address(0, 1)}")

    def remove(self) -> None:
        self.stop()
        run("ip", "netns", "del", self.name)
        run("rm", "-rf", "--one-file-system", str(self.directory))


class Hosts:
    """What one test, or one module of tests, takes of a slot's hosts; close() throws all of them away."""

    def __init__(self, slot: Slot, numbers: Iterator[int]) -> None:
        self.slot = slot
        self._numbers = numbers
        self.taken: list[Host] = []

    def take(self, count: int, *, image: str = "databases", release: str = cache.RELEASE) -> list[Host]:
        """Boot fresh hosts; each answers by ssh when this returns."""
        return self._boot([Host(self.slot, number, image=image, release=release) for number in self._next(count)])

    def take_behind_bastion(self, count: int, *, image: str = "databases") -> tuple[Host, list[Host]]:
        """Boot a bastion, and hosts that are reached only through it."""
        [bastion] = self.take(1, image="plain")
        if not any(link["ifname"] == BEHIND_BRIDGE for link in network.links(self.slot.name)):
            network.batch(self.slot.name, f"link add {BEHIND_BRIDGE} type bridge", f"link set {BEHIND_BRIDGE} up")
        third, fourth = (int(part) for part in bastion.address.split(".")[2:])
        address = self.slot.address(16 + third, fourth)
        network.plug(self.slot, bastion.name, bridge=BEHIND_BRIDGE, device="eth1", address=address)
        return bastion, self._boot([Host(self.slot, n, image=image, bastion=bastion) for n in self._next(count)])

    def give_back(self, *hosts: Host) -> None:
        """Throw hosts away before the end."""
        for host in hosts:
            host.remove()
            self.taken.remove(host)

    def write_inventory(self, path: Path, hosts: Sequence[Host], **variables: object) -> Path:
        """Write an Ansible inventory in YAML with one group, `hosts`; *variables* are the group's."""
        group = {
            "hosts": {host.name: {"ansible_host": host.address} for host in hosts},
            "vars": {
                "ansible_user": Host.user,
                "ansible_ssh_private_key_file": str(hosts[0].key_file),
                "ansible_ssh_common_args": " ".join(_quote(option) for option in hosts[0].login_options),
                **variables,
            },
        }
        path.write_text(yaml.safe_dump({"all": {"children": {"hosts": group}}}, sort_keys=False))
        return path

    def close(self) -> None:
        self.give_back(*self.taken)

    def _next(self, count: int) -> list[int]:
        return list(itertools.islice(self._numbers, count))

    def _boot(self, hosts: list[Host]) -> list[Host]:
        for host in hosts:
            host.directory.mkdir(parents=True)
            self.taken.append(host)
            host.plug()
            host.make_file_system()
            host.start()
        write_known_hosts(self.slot, hosts)
        for host in hosts:
            host.wait_for_ssh()
        return hosts


def prepare(slot: Slot) -> None:
    """Make what all hosts of a slot share: the key of their users."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bed", "-f", str(slot.directory / "key"))
    (slot.directory / "known_hosts").touch()


def authorize(root: Path, public_key: str) -> None:
    """Let the holder of a key log in, as root and as debian."""
    for home, uid in machines.LOGINS.values():
        directory = root / home / ".ssh"
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "authorized_keys").write_text(public_key)
        run("chown", "-R", f"{uid}:{uid}", str(directory))


def login_options(key_file: Path, known_hosts: Path) -> list[str]:
    """List the options of ssh with which tests log in: nothing of this machine's user, host keys checked."""
    values = {
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": 10,
    }
    options = [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
    return ["-F", "/dev/null", "-i", str(key_file), *options]


def write_known_hosts(slot: Slot, hosts: Sequence[machines.Machine]) -> None:
    """Bring the slot's known_hosts up to date for these hosts."""
    file = slot.directory / "known_hosts"
    changed = {host.address for host in hosts}
    kept = [line for line in file.read_text().splitlines() if line.split()[0] not in changed]
    added = [f"{host.address} {key}" for host in hosts for key in host.host_keys]
    file.write_text("\n".join([*kept, *added]) + "\n")


def _quote(option: str) -> str:
    return f'"{option}"' if " " in option else option
