# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings of Redis and Valkey: read, tried in a scratch server, set at run time. Speaks to the server itself."""

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple

from . import dbmod_command as commands
from . import dbmod_kit as kit

Values = Dict[str, str]

NAME = "redis"
TITLE = "Redis"
EXACT = True  # a scratch server tells how Redis writes a value
YIELDS = False  # CONFIG REWRITE writes down what runs: once that is right, the next one is too
MAIN = "redis.conf"
USUAL = ("/etc/redis/redis.conf", "/etc/valkey/valkey.conf", "/etc/redis.conf")  # of Debian and Red Hat
ENDING = ".conf"
INDEX = "index.conf"  # one file that includes the others: before version 7 an include takes no pattern
PORT = 6379
DOWN_SECONDS = 20  # without any answer after a restart; while it loads its data it answers
RESERVED = frozenset(
    [
        "aclfile",
        "bind",
        "bind-source-addr",
        "cluster-config-file",
        "cluster-enabled",
        "daemonize",
        "dir",
        "include",
        "loadmodule",
        "logfile",
        "masterauth",
        "masteruser",
        "pidfile",
        "port",
        "replicaof",
        "requirepass",
        "slaveof",
        "supervised",
        "syslog-enabled",
        "syslog-ident",
        "tls-port",
        "unixsocket",
        "unixsocketperm",
        "user",
    ]
)
# A scratch server keeps nothing; what is set here is asked for again when it runs, to learn how Redis writes it.
QUIET = {"save": "", "appendonly": "no"}
SCRATCH = 'port 0\ndaemonize no\ndir "%s"\nunixsocket "%s"\nunixsocketperm 700\n'
SCRATCH_SECONDS = 10
ANSWER_SECONDS = 20
NOBODY = 65534
# What its exporter asks of every server. Not CONFIG, which tells passwords.
MONITOR = ["+ping", "+info", "+client|setname", "+cluster|info", "+latency|histogram", "+latency|latest"]
MONITOR += ["+slowlog|get", "+slowlog|len"]
BUSY = re.compile(r"LOADING |BUSY |ERR max number of clients ")  # BUSY: a script runs
WORD = re.compile(r"[a-z][a-z0-9-]*\Z")
LINE = re.compile(r"Reading the configuration file, at line (\d+)")


def settings(text: str) -> Values:
    """Read the lines of a redis.conf; those of one name become one value, as CONFIG SET takes them."""
    found: Values = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            words = shlex.split(line) if len(line.split(None, 1)) > 1 else []  # a word of a MiB takes it half a minute
        except ValueError:
            raise kit.Refused("line %d: a quotation mark without its second" % number) from None
        name = words[0].lower() if words else ""
        if not WORD.match(name) or len(words) < 2:
            raise kit.Refused("line %d: not a name and its value" % number)
        if name in RESERVED:
            raise kit.Refused("line %d: %s belongs to the instance, not to a module" % (number, name))
        found[name] = " ".join(([found[name]] if name in found else []) + words[1:])
    return found


def include_line(directory: str) -> str:
    return 'include "%s/%s"' % (directory, INDEX)


def includes(main: str, directory: str) -> bool:
    """Tell whether the server's own configuration reads what lies in a directory."""
    wanted = ["include", "%s/%s" % (directory, INDEX)]
    return any(line.split() and words_of(line) == wanted for line in main.split("\n"))


def arrange(host: kit.Host, directory: str, like: str, present: List[str]) -> bool:
    """Write the index of the files that are present; tell whether that is a change."""
    seen = directory if directory.startswith("/") else os.path.join(host.directory, directory)
    lines = "".join('include "%s/%s"\n' % (seen, name) for name in sorted(present))
    return host.write_file("%s/%s" % (directory, INDEX), lines.encode(), like=like)


def check(host: kit.Host, text: str, main_file: str, link: "Optional[Link]") -> Values:
    """Start a scratch server with the text; give the values of its settings as Redis itself writes them.

    Raises  Refused with the line and the reason where it does not start
    """
    del host, main_file
    return read(link, text, sorted(settings(text)))


def read(link: "Optional[Link]", text: str, names: List[str]) -> Values:
    """Give what Redis reads in lines of a redis.conf, as it writes it. Raises Refused."""
    said = settings(text)
    with _scratch(text, _program(link)) as other:
        for name in sorted(set(QUIET) & set(said)):
            if not other.set(name, said[name] if name == "save" else said[name].rpartition(" ")[2]):
                raise kit.Refused("%s has a value that Redis does not take" % name)
        return other.values(names)


def connect(host: kit.Host, main: str) -> "Optional[Link]":
    """Log in to the server; None where nothing answers.

    Raises  Refused where it wants a password that is nowhere; Busy while it takes no commands
    """
    own = {words[0].lower(): words[1] for words in map(words_of, main.split("\n")) if len(words) == 2}
    held = host.read_file("etc/password")
    password = held.decode().strip() if held is not None else own.get("requirepass", "")
    address = (host.address or "127.0.0.1", host.port or int(own.get("port", PORT)))
    try:
        link = Link(socket.create_connection(address, ANSWER_SECONDS), password)
    except OSError:
        return None
    try:
        said = link.ask("AUTH", password) if password else "OK"
        if said == "OK":
            said = link.ask("PING")
    except kit.Refused:
        link.close()
        return None
    if not isinstance(said, Error) or said.startswith("MASTERDOWN"):  # a replica without its primary takes CONFIG
        return link
    link.close()
    if BUSY.match(said):
        raise kit.Busy("Redis takes no command now: %s" % said.partition(" ")[2])
    raise kit.Refused("Redis lets nobody in with the password of etc/password, or requirepass in its configuration")


class Error(str):
    """What Redis says when it says no."""


class Link:
    """A connection to a Redis; it must be closed."""

    def __init__(self, connection: socket.socket, password: str = "") -> None:
        connection.settimeout(ANSWER_SECONDS)
        self.connection = connection
        self.password = password
        self.stream: BinaryIO = connection.makefile("rb")  # type: ignore[assignment, unused-ignore]

    def close(self) -> None:
        self.stream.close()
        self.connection.close()

    def ask(self, *words: str) -> Any:
        """Send a command and read its answer. Raises Refused where the server is gone, or stuck."""
        encoded = [word.encode("utf-8") for word in words]
        request = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        try:
            self.connection.sendall(request)
            return self._answer()
        except OSError:
            raise kit.Refused("Redis does not answer any more") from None

    def _answer(self) -> Any:
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the server is gone")
        kind, rest = line[:1], line[1:-2].decode("utf-8", "replace")
        if kind == b"$":
            return None if rest == "-1" else self.stream.read(int(rest) + 2)[:-2].decode("utf-8", "replace")
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        return Error(rest) if kind == b"-" else rest

    def values(self, names: List[str]) -> Values:
        """Give what CONFIG GET knows of these names."""
        answers = [self.ask("CONFIG", "GET", name) for name in names]
        return {one[0]: one[1] for one in answers if isinstance(one, list) and len(one) == 2}

    def set(self, name: str, value: str) -> bool:
        """Set a value at run time; tell whether Redis could."""
        return self.ask("CONFIG", "SET", name, value) == "OK"

    def make_live(self, wanted: Values) -> List[str]:
        """Set values at run time; give the names that need a restart."""
        return [name for name, value in sorted(wanted.items()) if not self.set(name, value)]

    def started(self) -> str:
        """Name this start of the server."""
        return self.info("run_id")

    def info(self, name: str) -> str:
        found = re.search(r"^%s:(.*?)\r?$" % name, str(self.ask("INFO", "server")), re.MULTILINE)
        return found.group(1) if found else ""

    def let_monitor(self, name: str, password: str, address: str) -> Tuple[str, str]:
        """Make an account that sees how the server does, and no data; give its name and password.

        A server without a file for its accounts would forget it: there it is the login that dbmod itself has.
        """
        del address  # its accounts log in from anywhere
        if not self.values(["aclfile"]).get("aclfile"):
            return "", self.password
        digest = hashlib.sha256(password.encode("ascii")).hexdigest()
        self._change("SETUSER", name, "reset", "on", "#" + digest, *MONITOR)
        return name, password

    def drop_account(self, name: str, address: str) -> None:
        del address
        self._change("DELUSER", name)

    def _change(self, *words: str) -> None:
        for said in (self.ask("ACL", *words), self.ask("ACL", "SAVE")):
            if isinstance(said, Error):
                raise kit.Refused("Redis refuses the account (%s)" % said.partition(" ")[0])


def words_of(line: str) -> List[str]:
    """Read a line of a file that is not ours: what cannot be read has no words."""
    try:
        return shlex.split(line, comments=False) if not line.lstrip().startswith("#") else []
    except ValueError:
        return []


def _program(link: Optional[Link]) -> str:
    running = link.info("executable") if link is not None else ""
    path = os.environ.get("PATH", "") + ":" + kit.PATHS
    for name in (running, "redis-server", "valkey-server"):
        found = shutil.which(name, path=path) if name else None
        if found:
            return found
    raise kit.Refused("neither redis-server nor valkey-server is installed here to check the settings with")


@contextlib.contextmanager
def _scratch(text: str, program: str) -> Iterator[Link]:
    """Run a server that keeps nothing, listens on a socket of its own alone, and ends with the block."""
    folder = tempfile.mkdtemp(prefix="dbmod-redis-", dir=kit.TEMPORARY)
    process = None
    try:
        quiet = "".join('%s "%s"\n' % one for one in sorted(QUIET.items()))
        lines = text.rstrip("\n") + "\n" + quiet + SCRATCH % (folder, folder + "/s")
        with open(folder + "/redis.conf", "w", encoding="utf-8") as file:
            file.write(lines)
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(folder, NOBODY, NOBODY)
            os.chown(folder + "/redis.conf", NOBODY, NOBODY)
        with open(folder + "/log", "wb") as log:
            process = subprocess.Popen(
                [program, folder + "/redis.conf"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_become_nobody if is_root else None,  # noqa: PLW1509  (there is no thread here)
            )
        link = _answering(process, folder, text)
        try:
            yield link
        finally:
            link.close()
    finally:
        if process is not None:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _answering(process: "subprocess.Popen[bytes]", folder: str, text: str) -> Link:
    deadline = time.monotonic() + SCRATCH_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(folder + "/s")
            link = Link(connection)
            if link.ask("PING") == "PONG":
                return link
            link.close()
        except (OSError, kit.Refused):
            connection.close()
        time.sleep(0.01)
    with open(folder + "/log", errors="replace") as log:
        raise kit.Refused(_reason(log.read(commands.OUTPUT_LIMIT_BYTES), text))


def _reason(log: str, text: str) -> str:
    """Say why a scratch server did not start: the line's number and name, and Redis's own reason."""
    said = [line.strip() for line in log.splitlines() if line.strip()]
    found = LINE.search(log)
    if not said or not found:
        return "Redis does not start with it: %s" % (said[-1] if said else "it said nothing")
    number, lines = int(found.group(1)), text.split("\n")
    if number > len(lines):
        return "Redis does not start with it: %s" % said[-1]
    name = _named(lines[number - 1])
    return "line %d (%s): %s" % (number, name, said[-1])


def _named(line: str) -> str:
    words: Tuple[str, ...] = tuple(words_of(line))
    return words[0] if words else "?"
