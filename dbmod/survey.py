"""What runs on a host that is to be adopted: what it is asked, and from what it says to what the ledger holds. Pure."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from dbmod import datastores, errors, paths, transport

SOURCE = paths.PACKAGE / "hostside" / "dbmod_survey.py"
MARK = "dbmod-survey "
WORD = re.compile(r"[A-Za-z0-9@%+=:,._/-]+\Z")  # of a restart command: nothing that Ansible or a shell would read
HOST_KEY = re.compile(r"[a-z0-9@.-]{3,64} [A-Za-z0-9+/]{16,2048}={0,2}\Z")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
# Where distributions keep data, for the size of the disk where the server's own directory may not be seen.
PLACES = {"mysql": "/var/lib/mysql", "postgresql": "/var/lib/postgresql", "redis": "/var/lib/redis"}
# What servers listen on besides: replication of Galera and of MySQL's groups, its X protocol, administrators' ports.
OTHER_PORTS = frozenset({4444, 4567, 4568, 33060, 33061, 33062})
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared with, not bound to)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the host says of itself; see dbmod/hostside/dbmod_survey.py."""

    memory_mib: int
    vcpus: int
    volume_gb: int
    system: str
    python: str
    host_keys: tuple[str, ...]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server that runs there. listeners: None where the user who looked may not see them."""

    program: str
    version: str
    listeners: tuple[tuple[str, int], ...] | None
    port: int
    unit: str
    is_managed: bool
    directory: str


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    servers: tuple[Server, ...]
    usual_answers: tuple[str, ...]
    is_root: bool


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for on one host."""

    datastore: str
    port: int = 0  # 0: the only one there is
    restart_command: tuple[str, ...] = ()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one host."""

    instance: str  # id
    state: Literal["ok", "error", "unreachable"]
    message: str = ""
    facts: dict[str, Any] = {}  # fields of an Instance, see fleet.FACTS
    cluster: str = ""  # the value of the variable that names it


Template = Callable[[str], Any]  # gives a variable of the host as Ansible fills it in; None where there is none


def read_asked(options: Mapping[str, Any], template: Template) -> Asked:
    """Put together what the command asked for and what the host's own variables say; the command counts more.

    Raises BadInput
    """
    port = options.get("port") or template("dbmod_port") or 0
    if not str(port).isdigit() or not 0 <= int(port) <= 65535:
        raise errors.BadInput(f"dbmod_port is no port: {str(port)[:40]!r}")
    command = options.get("restart_command") or template("dbmod_restart_command") or ()
    return Asked(datastore=str(options["datastore"]), port=int(port), restart_command=restart_words(command))


def restart_words(command: Any) -> tuple[str, ...]:
    """Split a restart command, a text or a list, into words that no shell and no template needs. Raises BadInput."""
    if isinstance(command, str):
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise errors.BadInput(f"The restart command cannot be read: {error}.") from error
    else:
        words = [str(word) for word in command]
    bad = [word for word in words if not WORD.match(word)]
    if bad:
        raise errors.BadInput(
            f"The restart command holds {bad[0][:40]!r}, which dbmod does not pass on.",
            next_step="use letters, digits and @ % + = : , . _ / - in it; put the rest into a script on the host",
        )
    return tuple(words)


def interpret(survey: Survey, asked: Asked) -> tuple[dict[str, Any], str]:
    """Choose the server that was meant.

    Returns  the facts of its instance, see fleet.FACTS, and what there is to say about it
    Raises   Refused where there is none, or where it cannot be told which
    """
    server, port = _chosen(survey, asked)
    version = datastores.VERSION.search(server.version)
    if version is None:
        program = server.program or "its program, which cannot be found,"
        raise errors.Refused(f"its version is not known: {program} --version does not tell it")
    restart, note = _restart(server, asked)
    facts = {
        "datastore_version": version[1],
        "host_keys": host_keys(survey),
        "port": port,
        "ram_mib": survey.machine.memory_mib,
        "vcpus": survey.machine.vcpus,
        "volume_gb": survey.machine.volume_gb,
        "restart_command": restart,
        "provider_facts": {
            "listens_on": _listening_address(server, port, survey),
            "system": transport.text(survey.machine.system).replace("{", ""),
            "python": transport.text(survey.machine.python).replace("{", ""),
        },
    }
    return facts, note


def ports_of(server: Server, datastore: datastores.Datastore) -> list[int]:
    """Give the ports on which clients may reach a server, as far as can be seen."""
    if server.listeners is None:
        return [server.port] if server.port else []
    listening = {port for _, port in server.listeners}
    if server.port in listening:
        return [server.port]
    if datastore.port in listening:
        return [datastore.port]
    beside = {port + distance for port in listening for distance in datastore.further_ports}
    return sorted(listening - beside - OTHER_PORTS)


def _chosen(survey: Survey, asked: Asked) -> tuple[Server, int]:
    """Give the server and its port."""
    datastore = datastores.describe(asked.datastore)
    if not survey.servers:
        raise errors.Refused(
            f"no {asked.datastore} runs there (no process {' or '.join(datastore.servers)})",
            next_step="start it, or choose another --datastore",
        )
    known = [(server, ports_of(server, datastore)) for server in survey.servers]
    if not asked.port:
        return _only_one(known, survey, datastore)
    for server, ports in known:
        seen = {port for _, port in server.listeners or ()}
        if asked.port in ports or asked.port in seen:
            return server, asked.port
    unseen = [server for server, ports in known if not ports and server.listeners is None]
    if len(unseen) == 1 and survey.usual_answers:
        return unseen[0], asked.port
    found = sorted({port for _, ports in known for port in ports})
    raise errors.Refused(
        f"no {asked.datastore} listens on port {asked.port} there",
        next_step=f"give another port; found: {', '.join(map(str, found)) or 'none'}" + _blind(survey),
    )


def _only_one(
    known: Sequence[tuple[Server, list[int]]], survey: Survey, datastore: datastores.Datastore
) -> tuple[Server, int]:
    every = sorted({port for _, ports in known for port in ports})
    if len(known) > 1 or len(every) > 1:
        raise errors.Refused(
            f"{len(known)} servers run there, on the ports {', '.join(map(str, every)) or '(not to be seen)'}",
            next_step="say which: --port, or the variable dbmod_port in the inventory" + _blind(survey),
        )
    server = known[0][0]
    if every:
        return server, every[0]
    if server.listeners is None and survey.usual_answers:
        return server, datastore.port
    raise errors.Refused(
        "its port cannot be seen" if server.listeners is None else "it listens on no TCP port",
        next_step="say which: --port, or the variable dbmod_port in the inventory" + _blind(survey),
    )


def _blind(survey: Survey) -> str:
    return "" if survey.is_root else "; an ordinary user does not see the ports of others' processes: --become"


def _restart(server: Server, asked: Asked) -> tuple[tuple[str, ...], str]:
    """Give the restart command, and what there is to say where none is known."""
    if asked.restart_command:
        return asked.restart_command, ""
    if server.is_managed:
        return (), "Patroni manages it, so its restart command has to be given: --restart-command"
    if not server.unit or not WORD.match(server.unit):
        return (), "it belongs to no systemd unit, so its restart command is not known: --restart-command"
    return ("systemctl", "restart", server.unit), ""


def _listening_address(server: Server, port: int, survey: Survey) -> str:
    """Give an address of the host's own at which the server answers."""
    addresses = [address for address, number in server.listeners or () if number == port]
    addresses = [LOOPBACK.get(address, address) for address in addresses] or list(survey.usual_answers)
    found = "127.0.0.1" if "127.0.0.1" in addresses or not addresses else addresses[0]
    return found if re.fullmatch(r"[0-9A-Fa-f.:]{2,45}", found) else "127.0.0.1"


def host_keys(survey: Survey) -> list[str]:
    """Give the host's public keys as the ledger keeps them. Raises Refused where there is none to be read."""
    keys = [key for key in survey.machine.host_keys if HOST_KEY.match(key)]
    if not keys:
        raise errors.Refused(
            "its host keys are not in /etc/ssh, where dbmod reads them",
            next_step="put ssh_host_<type>_key.pub there, readable by all",
        )
    return keys


def frame(asked: Asked) -> bytes:
    """Give what the command reads from its standard input."""
    datastore = datastores.describe(asked.datastore)
    source = SOURCE.read_bytes()
    request = {
        "programs": [*datastore.servers],
        "directories": datastore.directories,
        "port": asked.port,
        "usual_port": datastore.port,
        "places": [PLACES[asked.datastore]] if asked.datastore in PLACES else [],
    }
    return b"%d\n" % len(source) + source + json.dumps(request).encode()


def read_answer(output: str) -> Survey | None:
    """Understand what a host printed; None where it is no survey."""
    for line in output.splitlines():
        if not line.startswith(MARK) or len(line) > transport.ANSWER_LIMIT_BYTES:
            continue
        try:
            return msgspec.json.decode(line.removeprefix(MARK), type=Survey)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
    return None
