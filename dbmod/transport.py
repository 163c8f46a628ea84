"""What goes to a host and comes back: one command, one frame on its standard input, one answer. Pure; sends nothing.

The frame: the loader's length and source, the header's length and JSON, the sources of kit and types, the raw contents.
The answer is whatever the host printed; in it `dbmod-started <run>`, a `dbmod-result <run> {…}` per module, or one
`dbmod-health <run> {…}`, and `dbmod-finished <run>` count, everything else is noise. Nothing a host says is more than
data: checked, cut, never run.
"""

import functools
import hashlib
import json
import shlex
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from dbmod import names, paths, records

HOSTSIDE = paths.PACKAGE / "hostside"
# In the order they import each other.
KIT = ("files", "child", "command", "kit", "evidence", "work", "change", "look", "bundle")
# What only some types import; it goes along with those alone. In the same order.
EXTRAS = ("expressions", "dropin", "redis", "mysql", "postgresql", "overrides", "packages", "exporters", "health")
FACTS = ("datastore", "datastore_version", "directory", "address", "port", "memory_mib", "restart_command")
BOOTSTRAP = (
    "import sys;sys.version_info<(3,6)and(print('dbmod-refused - dbmod needs Python 3.6 or newer on the host'),"
    "sys.exit(1));i=sys.stdin.buffer;exec(compile(i.read(int(i.readline(20))),'dbmod','exec'))"
)
TEXT_LIMIT = 255  # characters of any text from a host
ANSWER_LIMIT_BYTES = 4 << 20  # without contents; 5 modules answer with about 8 KiB

Verb = Literal["apply", "remove", "query", "retrieve", "health"]


class ModuleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One module as the host has to know it: what result.json will say about it."""

    module: str  # its id
    type: str
    name: str
    datastore: str  # "all" where it is bound to none
    datastore_version: str
    tenant: str
    version_number: int
    md5: str
    sha256: str
    auto_apply: bool
    visible: bool
    is_admin: bool
    removes: bool = False  # whatever the request's verb


class Failpoint(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    file: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What one host is asked to do. With query and retrieve, no modules means all that are there."""

    run: str
    serial: int
    verb: Verb
    home: str  # dbmod_host_home
    instance: str  # id
    modules: tuple[ModuleRequest, ...]
    check: bool = False
    baseline: bool = False  # record what is there already as applied; apply nothing
    follows: tuple[str, ...] = ()  # runs that this one goes on with: what they did here is not done again
    datastore: str = ""  # the instance's own
    datastore_version: str = ""
    directory: str = ""  # dbmod_directory; empty: the instance's folder below home
    address: str = ""  # where the server answers, as seen on its host
    port: int = 0
    memory_mib: int = 0
    restart_command: tuple[str, ...] = ()
    time_limit_seconds: float = 300  # of each module's function
    lock_wait_seconds: float = 30
    wait_seconds: float = 0  # of health: until the server is well
    max_lag_seconds: int | None = None  # of health; None: how it copies does not matter
    failpoint: Failpoint | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a host says about one module.

    note      "" · "drifted" · "missing" · "unknown" (no result.json that can be believed); detail says why
              "differs": a baseline found that applying would change something
    observed  digest of the bytes found, "" where nothing was, None: not looked at, or as held
    evidence  the host's result.json; None where it could not be written or believed
    contents  the bytes on the host, of retrieve
    """

    module: str
    type: str
    status: Literal["OK", "ERROR"]
    message: str
    changed: bool = False
    note: Literal["", "drifted", "missing", "unknown", "differs"] = ""
    detail: str = ""
    observed: str | None = None
    evidence: records.Evidence | None = None
    contents: bytes | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """All that a host said.

    started   it had the whole request and began: what has no result is unknown, not unreachable
    finished  the last line came, so nothing is still running
    problem   why it refused the request or could not be understood; empty otherwise
    """

    started: bool
    finished: bool
    results: tuple[Result, ...]
    problem: str = ""

    def result(self, module: str) -> Result | None:
        return next((result for result in self.results if result.module == module), None)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a host says that its server is; no faults: it is well. See dbmod/hostside/dbmod_health.py."""

    faults: tuple[str, ...]
    is_replica: bool


RESULT = msgspec.json.Decoder(Result)  # made before Ansible forks its workers, not in each of them


def command(python: str) -> str:
    """Give the shell command that runs the bundle; the same for every host and request."""
    return f"{shlex.quote(python)} -IS -c {shlex.quote(BOOTSTRAP)}"


def frame(request: Request, sources: Mapping[str, str], contents: Sequence[bytes] = ()) -> bytes:
    """Give what the command reads from its standard input.

    sources   type → source, of every type the request needs; with query and retrieve, of all that are known
    contents  of request.modules, in their order; none when nothing is applied
    """
    sizes = [len(data) for data in contents] or [0] * len(request.modules)
    kit = _kit()
    types = _extras(sources) + [(name, source.encode()) for name, source in sources.items()]
    header = msgspec.structs.asdict(request)
    header["modules"] = [msgspec.structs.asdict(module) for module in request.modules]
    header["failpoint"] = request.failpoint and msgspec.structs.asdict(request.failpoint)
    header["facts"] = {name: header.pop(name) for name in FACTS}
    header["kit"] = [(name, len(source)) for name, source in kit]
    header["kit_sha256"] = _kit_sha256()
    header["types"] = [(name, len(source)) for name, source in types]
    for module, size in zip(header["modules"], sizes, strict=True):
        module["size_bytes"] = size
    loader = _source("loader")
    head = json.dumps(header).encode()  # takes Ansible's tagged strings too, which msgspec refuses
    pieces = [b"%d\n" % len(loader), loader, b"%d\n" % len(head), head]
    return b"".join([*pieces, *(source for _, source in kit), *(source for _, source in types), *contents])


@functools.cache
def _kit() -> list[tuple[str, bytes]]:
    return [(f"dbmod_{name}", _source(name)) for name in KIT]


@functools.cache
def _kit_sha256() -> str:
    return hashlib.sha256(b"".join(source for _, source in _kit())).hexdigest()


def _extras(sources: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """Give the parts of the kit that a type's source names; the host reads them only for a type that is there."""
    named = [name for name in EXTRAS if any(f"dbmod_{name}" in source for source in sources.values())]
    return [(f".dbmod_{name}", _source(name)) for name in named]  # no type's name begins so


@functools.cache
def _source(name: str) -> bytes:
    return (HOSTSIDE / f"dbmod_{name}.py").read_bytes()


def read_answer(stdout: bytes | str, run: str, *, limit_bytes: int = ANSWER_LIMIT_BYTES) -> Answer:
    """Understand what a host printed, whatever it is.

    limit_bytes  of the whole output; retrieve needs 4/3 of the contents on top
    """
    data = stdout.encode("utf-8", "replace") if isinstance(stdout, str) else stdout
    if len(data) > limit_bytes:
        started = b"dbmod-started " + run.encode() in data[:65536]
        return Answer(started=started, finished=False, results=(), problem=f"the host answered {len(data)} bytes")
    started, finished, problem = False, False, ""
    results: dict[str, Result] = {}
    result_prefix, refused_prefix = f"dbmod-result {run} ".encode(), b"dbmod-refused "
    for line in _lines(data):
        if line.startswith(refused_prefix):
            problem = text(line.decode("utf-8", "replace").split(" ", 2)[-1])
        elif line == f"dbmod-started {run}".encode():
            started = True
        elif line == f"dbmod-finished {run}".encode():
            finished = started
        elif started and line.startswith(result_prefix):
            result = _result(memoryview(line)[len(result_prefix) :])
            if result is None:
                problem = "the host gave a result that cannot be understood"
            else:
                results.setdefault(result.module, result)
    return Answer(started=started, finished=finished, results=tuple(results.values()), problem=problem)


def read_health(stdout: str, run: str) -> Health | None:
    """Understand what a host said of its server; None where it said nothing that can be understood."""
    prefix = f"dbmod-health {run} "
    lines = [line for line in stdout[:ANSWER_LIMIT_BYTES].splitlines() if line.startswith(prefix)]
    try:
        found = msgspec.json.decode(lines[0].removeprefix(prefix), type=Health) if lines else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return found and Health(faults=tuple(map(text, found.faults)), is_replica=found.is_replica)


def _lines(data: bytes) -> Iterator[bytes]:
    """Give one line after the other: together they would double what a retrieve takes."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield data[start:end].rstrip(b"\r")
        start = end + 1


def _result(line: memoryview) -> Result | None:
    """Read one result; None where any part of it is not what a host of ours can say."""
    try:
        result = RESULT.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    is_sound = _is_label(result.module) and names.is_valid_type(result.type) and _is_digest(result.observed or "")
    if not is_sound or (result.evidence is not None and not _is_sound(result.evidence, result)):
        return None
    observed = hashlib.sha256(result.contents).hexdigest() if result.contents is not None else result.observed
    evidence = result.evidence and msgspec.structs.replace(result.evidence, message=text(result.evidence.message))
    return msgspec.structs.replace(
        result, message=text(result.message), detail=text(result.detail), observed=observed, evidence=evidence
    )


def _is_sound(evidence: records.Evidence, result: Result) -> bool:
    values = (getattr(evidence, name) for name in evidence.__struct_fields__ if name != "message")
    moments = (evidence.created, evidence.updated, evidence.removed)
    return (
        (evidence.module, evidence.type) == (result.module, result.type)
        and all(_is_line(value) for value in values if isinstance(value, str))
        and all(moment is None or moment.tzinfo is not None for moment in moments)
        and _is_digest(evidence.sha256)
    )


def _is_label(value: str) -> bool:
    return names.is_plain(value) and len(value) <= 64


def _is_line(value: str) -> bool:
    return len(value) <= TEXT_LIMIT and not any(unicodedata.category(one) in ("Cc", "Cs") for one in value)


def _is_digest(value: str) -> bool:
    return value == "" or (len(value) == 64 and set(value) <= set("0123456789abcdef"))


def text(value: str) -> str:
    """Make a text from a host harmless: one line, printable, at most TEXT_LIMIT characters."""
    shown = "".join(character if character.isprintable() else " " for character in value[: 4 * TEXT_LIMIT]).strip()
    return shown if len(shown) <= TEXT_LIMIT else shown[: TEXT_LIMIT - 1] + "…"
