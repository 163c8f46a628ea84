"""The files and processes of one server; see osbox_driver.py."""

import fcntl
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nova import conf, exception

CONF = conf.CONF
STATE = Path(os.environ["STATE"])
NAME = os.environ["NAME"]
APT_CONFIGURATION = os.environ["APT_CONFIGURATION"]
BOOT_MACHINE = Path(__file__).resolve().parents[2] / "boot_machine.sh"
LOGINS = {"root": 0, "home/debian": 1000}  # home below the root: uid


def run(*command: str, check: bool = True) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if check and ended.returncode:
        raise exception.NovaException(f"{' '.join(command)}: {ended.stderr or ended.stdout}")
    return ended.stdout.strip()


@contextmanager
def locked() -> Iterator[None]:
    """Keep the other hypervisors off what they share: mounted images, bridges, loop devices."""
    with (STATE / "locks/driver").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def volumes(block_device_info) -> list[tuple[Path, str, str]]:
    """List the volumes of a server as volume_of does."""
    mappings = (block_device_info or {}).get("block_device_mapping") or []
    return [volume_of(mapping["connection_info"], mapping["mount_device"]) for mapping in mappings]


def volume_of(connection_info, mount_point: str) -> tuple[Path, str, str]:
    """Tell what to attach: file, mount point, the volume's id."""
    data = connection_info["data"]
    share = hashlib.md5(data["export"].encode()).hexdigest()
    return Path(CONF.libvirt.nfs_mount_point_base, share, data["name"]), mount_point, connection_info["serial"]


def children(process: int | None) -> list[int]:
    found = run("pgrep", "-P", str(process), check=False) if process else ""
    return [int(line) for line in found.splitlines()]


class Server:
    """The files and processes of one server."""

    def __init__(self, uuid: str) -> None:
        self.directory = Path(CONF.instances_path, uuid)
        self.root = self.directory / "root"
        self.pid_file = self.directory / "pid"
        self.name = f"{NAME}s-{uuid[:8]}"

    def create(self, image: Path) -> None:
        """Make its layer on the image, and its network namespace."""
        for part in ("upper", "work", "root"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={image},upperdir={self.directory}/upper,workdir={self.directory}/work"
        run("mount", "-t", "overlay", self.name, "-o", f"{layers},volatile", str(self.root))
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")

    def settle(self, hostname: str, public_key: str | None, user_data: str) -> None:
        """Do what cloud-init does at the first boot: name, keys, user data (a script, no other format)."""
        self._write("etc/hostname", f"{hostname}\n")
        self._write("etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n")
        self._write("etc/apt/apt.conf.d/00proxy", APT_CONFIGURATION)
        for kind in ("ed25519", "ecdsa"):
            file = self.root / f"etc/ssh/ssh_host_{kind}_key"
            run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"root@{hostname}", "-f", str(file))
        for home, uid in LOGINS.items() if public_key else ():
            self._write(f"{home}/.ssh/authorized_keys", f"{public_key}\n", 0o600)
            run("chown", "-R", f"{uid}:{uid}", str(self.root / home / ".ssh"))
        if user_data:
            unit = "[Service]\nType=oneshot\nExecStart=/usr/local/sbin/user-data\n"
            self._write("usr/local/sbin/user-data", user_data, 0o755)
            self._write("etc/systemd/system/user-data.service", f"{unit}[Install]\nWantedBy=multi-user.target\n")
            run("chroot", str(self.root), "systemctl", "enable", "user-data")

    def plug(self, number: int, vif) -> None:
        """Wire a port to the bridge of its network."""
        bridge, port, device = f"br{vif['network']['id'][:11]}", f"tap{vif['id'][:11]}", f"eth{number}"
        with locked():
            run("ip", "link", "add", bridge, "type", "bridge", check=False)  # its network may have one
            run("ip", "link", "set", bridge, "up")
        peer = ("type", "veth", "peer", "name", device, "netns", self.name, "address", vif["address"])
        run("ip", "link", "add", port, *peer)
        run("ip", "link", "set", port, "master", bridge, "up")
        run("ip", "-n", self.name, "link", "set", device, "up")
        for subnet in vif["network"]["subnets"]:
            bits, gateway = subnet["cidr"].split("/")[1], subnet["gateway"]["address"]
            for address in subnet["ips"]:
                run("ip", "-n", self.name, "addr", "add", f"{address['address']}/{bits}", "dev", device)
            if gateway:
                run("ip", "addr", "replace", f"{gateway}/{bits}", "dev", bridge)
            if gateway and number == 0:
                run("ip", "-n", self.name, "route", "replace", "default", "via", gateway)

    def supervisor(self) -> int | None:
        """Say which process runs boot_machine.sh, or None when the server is down."""
        try:
            process = int(self.pid_file.read_text())
            command = Path(f"/proc/{process}/cmdline").read_text()
        except (OSError, ValueError):
            return None
        return process if str(self.root) in command else None

    def init(self) -> int:
        """Say which process is the first one inside; waits for it."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for nspawn in children(self.supervisor()):
                for first in children(nspawn):
                    return first
            time.sleep(0.05)
        raise exception.NovaException(f"{self.name} has no first process")

    def start(self) -> None:
        if self.supervisor():
            return
        with (self.directory / "console.log").open("ab") as log:
            process = subprocess.Popen(
                [str(BOOT_MACHINE), self.name, str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid_file.write_text(f"{process.pid}\n")

    def stop(self, *, seconds: float) -> None:
        """Shut down, and kill what has not ended by then."""
        process = self.supervisor()
        if process and seconds:
            os.kill(process, signal.SIGTERM)
            self._wait_for_end(process, seconds)
        if process and self.supervisor():
            inside = [first for nspawn in children(process) for first in (nspawn, *children(nspawn))]
            for each in (process, *inside):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            self._wait_for_end(process, 5)

    def attach(self, file: Path, mount_point: str, serial: str) -> None:
        """Show a volume as a device, now and at every boot."""
        with locked():
            device = run("losetup", "--find", "--show", str(file))
        link = f"/dev/disk/by-id/virtio-{serial[:20]}"
        self._replace("devices", f":{mount_point}", f"{device}:{mount_point}")
        self._replace("root/etc/tmpfiles.d/volumes.conf", f" {mount_point}", f"L+ {link} - - - - {mount_point}")
        if self.supervisor():
            number = Path(device).stat().st_rdev
            make = f"mknod {mount_point} b {os.major(number)} {os.minor(number)}"
            self._run_inside(f"{make}; mkdir -p /dev/disk/by-id; ln -sf {mount_point} {link}")

    def detach(self, file: Path, mount_point: str) -> None:
        self._replace("devices", f":{mount_point}")
        self._replace("root/etc/tmpfiles.d/volumes.conf", f" {mount_point}")
        if self.supervisor():
            bound = f"grep -q ' {mount_point} ' /proc/mounts && umount {mount_point}"  # as after a boot
            self._run_inside(f"{bound} || true; rm -f {mount_point}; find /dev/disk/by-id -xtype l -delete || true")
        with locked():
            for line in run("losetup", "--associated", str(file)).splitlines():
                run("losetup", "--detach", line.split(":")[0])

    def destroy(self) -> None:
        self.stop(seconds=0)
        run("ip", "netns", "del", self.name, check=False)
        run("umount", "--lazy", str(self.root), check=False)
        run("rm", "-rf", "--one-file-system", str(self.directory))

    def _run_inside(self, script: str) -> None:
        run("nsenter", "-t", str(self.init()), "-m", "-p", "--", "sh", "-ec", script)

    def _wait_for_end(self, process: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.supervisor() and time.monotonic() < deadline:
            with suppress(ChildProcessError):  # a nova-compute that was started again is not its parent
                os.waitpid(process, os.WNOHANG)
            time.sleep(0.05)

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def _replace(self, name: str, end: str, line: str | None = None) -> None:
        """Replace the line of a file that ends so, or take it away."""
        file = self.directory / name
        lines = file.read_text().splitlines() if file.exists() else []
        lines = [other for other in lines if not other.endswith(end)] + ([line] if line else [])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{each}\n" for each in lines))
