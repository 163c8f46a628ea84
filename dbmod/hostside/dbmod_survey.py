# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on a host that is to be adopted: its machine, and its servers of one datastore. Reads only.

Python 3.6, standard library; it runs on the host, fed on standard input, and writes no file there.

Input   JSON: programs (names of the servers), directories (where they lie besides PATH), port (asked for; 0: none),
        usual_port, places (where their data usually lies)
Output  JSON after `dbmod-survey `: machine, servers, usual_answers (does something listen on the port asked for, or on
        the usual one), is_root
"""

import glob
import json
import os
import re
import select
import socket
import stat
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
COMMAND_LIMIT = 15  # characters that the kernel keeps of a process's name
LISTENING = "0A"  # of /proc/net/tcp
VERSION_SECONDS = 10
VERSION_LIMIT_BYTES = 1000
GIB = 1 << 30
UNIT = re.compile(r"^/system\.slice/(?:[^/]+\.slice/)*([A-Za-z0-9@:_.\\-]+\.service)$")
SPOKEN_PORT = re.compile(r"(?:^|\s)(?:--port[= ]|-p ?)(\d{1,5})(?=\s|$)")
TITLE_PORT = re.compile(r"-server \S*:(\d{1,5})(?=\s|$)")  # redis-server 127.0.0.1:6379 [cluster]

Listener = Tuple[str, int]  # address, port


def survey(request: Dict[str, Any]) -> Dict[str, Any]:
    processes = _processes({name[:COMMAND_LIMIT] for name in request["programs"]})
    found = [_server(number, request) for number in sorted(processes)]
    port = request["port"] or request["usual_port"]
    return {
        "machine": _machine(_place([one["directory"] for one in found] + request["places"])),
        "servers": found,
        "usual_answers": _answers(port),
        "is_root": os.geteuid() == 0,
    }


def _processes(names: Set[str]) -> Set[int]:
    """Give the servers that run here: the first process of each, and none that runs in a container."""
    parents = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or _text("/proc/%s/comm" % entry).rstrip("\n") not in names:
            continue
        if _link("/proc/%s/ns/pid" % entry) in ("", _link("/proc/self/ns/pid")):
            fields = _text("/proc/%s/stat" % entry).rpartition(")")[2].split()
            parents[int(entry)] = int(fields[1]) if len(fields) > 1 else 0
    return {number for number, parent in parents.items() if parent not in parents}


def _server(number: int, request: Dict[str, Any]) -> Dict[str, Any]:
    """Describe one server.

    listeners  [address, port] of its TCP sockets; None where this user may not see them
    port       what its command line says; 0: nothing
    """
    words = _text("/proc/%d/cmdline" % number).replace("\0", " ").strip()
    program = _program(number, words, request)
    spoken = TITLE_PORT.search(words) or SPOKEN_PORT.search(words)
    return {
        "program": program,
        "version": _version(program, number),
        "listeners": _listeners(number),
        "port": int(spoken.group(1)) if spoken else 0,
        "unit": _unit(number),
        "is_managed": "patroni" in _text("/proc/%d/cgroup" % number) or "patroni" in _parent_words(number),
        "directory": _link("/proc/%d/cwd" % number),
    }


def _program(number: int, words: str, request: Dict[str, Any]) -> str:
    """Give the path of its program: as it was called, as the kernel knows it, or where it is installed.

    The kernel follows links: it knows Debian's redis-server as redis-check-rdb.
    """
    wanted = _text("/proc/%d/comm" % number).strip()
    kernel = _link("/proc/%d/exe" % number)
    if kernel.endswith(" (deleted)"):  # it was updated and goes on as it was
        kernel = kernel[: -len(" (deleted)")]
    own = [place for pattern in request["directories"] for place in sorted(glob.glob(pattern), reverse=True)]
    places = [os.path.dirname(kernel), *own, *SYSTEM_PATH.split(":")]
    for path in [words.split(" ", maxsplit=1)[0]] + [os.path.join(place, wanted) for place in places]:
        if path.startswith("/") and os.path.basename(path)[:COMMAND_LIMIT] == wanted and os.access(path, os.X_OK):
            return path
    return kernel


def _version(program: str, number: int) -> str:
    """Give what the program of a server says of itself, "" where it says nothing.

    Anybody may call a program as a server is called. So root runs only what is root's; else it is run as its own user.
    """
    if not program:
        return ""
    become, real = None, os.path.realpath(program)
    if os.geteuid() == 0 and not _is_roots(real):
        uid, gid = _user(number)
        if uid == 0:
            return ""
        become = _becoming(uid, gid)
    try:
        process = subprocess.Popen(
            [program, "--version"],
            executable=real,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
            preexec_fn=become,  # noqa: PLW1509  (there is no thread here)
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    with process:
        try:
            return _beginning(process).decode("utf-8", "replace")
        finally:
            process.kill()


def _beginning(process: "subprocess.Popen[bytes]") -> bytes:
    """Read what a program prints, as far as it counts and does not take too long."""
    assert process.stdout is not None
    said = b""
    deadline = time.monotonic() + VERSION_SECONDS
    while len(said) < VERSION_LIMIT_BYTES:
        if not select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
            return b""
        chunk = os.read(process.stdout.fileno(), VERSION_LIMIT_BYTES - len(said))
        if not chunk:
            break
        said += chunk
    return said


def _is_roots(place: str) -> bool:
    """Tell whether only root can have put a file where it is, and only root can replace it; no link is in its path."""
    while True:
        try:
            status = os.lstat(place)
        except OSError:
            return False
        shared = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid != 0 else 0)
        if status.st_uid != 0 or (status.st_mode & shared and not status.st_mode & stat.S_ISVTX):
            return False
        if place == "/":
            return True
        place = os.path.dirname(place)


def _user(number: int) -> Tuple[int, int]:
    """Give real uid and gid of a process; a program that changes to root keeps the real ones of who called it."""
    found = dict(re.findall(r"^(Uid|Gid):\s+(\d+)", _text("/proc/%d/status" % number), re.MULTILINE))
    return int(found.get("Uid", 0)), int(found.get("Gid", 0))


def _becoming(uid: int, gid: int) -> Callable[[], None]:
    def become() -> None:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)

    return become


def _listeners(number: int) -> Optional[List[Listener]]:
    """Give the addresses and TCP ports that a process listens on; None where this user may not see them."""
    try:
        links = [_link("/proc/%d/fd/%s" % (number, name)) for name in os.listdir("/proc/%d/fd" % number)]
    except OSError:
        return None
    own = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in _text("/proc/%d/net/%s" % (number, table)).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTENING and fields[9] in own:
                found.add(_address(family, fields[1]))
    return sorted(found)


def _address(family: int, text: str) -> Listener:
    """Read an address as /proc/net/tcp writes it: words of four bytes in the machine's order, then the port."""
    address, _, port = text.partition(":")
    raw = bytes.fromhex(address)
    if sys.byteorder == "little":
        raw = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    return socket.inet_ntop(family, raw), int(port, 16)


def _unit(number: int) -> str:
    """Give the systemd unit that a process belongs to, "" where it belongs to none of the system's."""
    for line in _text("/proc/%d/cgroup" % number).splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3 and fields[1] in ("", "name=systemd"):
            found = UNIT.match(fields[2])
            if found:
                return found.group(1)
    return ""


def _parent_words(number: int) -> str:
    fields = _text("/proc/%d/stat" % number).rpartition(")")[2].split()
    return _text("/proc/%s/cmdline" % fields[1]).replace("\0", " ") if len(fields) > 1 else ""


def _answers(port: int) -> List[str]:
    """Give those of this host's own addresses on which something accepts connections to a port."""
    return [address for address in ("127.0.0.1", "::1") if _accepts(address, port)]


def _accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def _machine(place: str) -> Dict[str, Any]:
    release = {}
    for line in _text("/etc/os-release").splitlines():
        name, _, value = line.partition("=")
        release[name] = value.strip("\"'")
    disk = os.statvfs(place)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    keys = [_text(path).split() for path in sorted(glob.glob("/etc/ssh/ssh_host_*_key.pub"))]
    return {
        "memory_mib": int(memory.group(1)) // 1024 if memory else 0,
        "vcpus": len(os.sched_getaffinity(0)),
        "volume_gb": max(1, round(disk.f_blocks * disk.f_frsize / GIB)),
        "system": ("%s %s" % (release.get("ID", ""), release.get("VERSION_ID", ""))).strip(),
        "python": "%d.%d.%d" % tuple(sys.version_info[:3]),
        "host_keys": [" ".join(words[:2]) for words in keys if len(words) > 1],
    }


def _place(candidates: List[str]) -> str:
    """Give the first directory that is there: where the data lies, else the root."""
    for place in candidates:
        if place.startswith("/") and os.path.isdir(place):
            return place
    return "/"


def _text(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def main() -> None:
    try:
        answer = survey(json.loads(sys.stdin.read()))
    except Exception as error:
        answer = {"error": "%s while looking at the host" % type(error).__name__}
    sys.stdout.write("\ndbmod-survey " + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
