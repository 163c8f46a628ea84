"""What every module type has to keep, tried on a scratch host: for `dbmod type-test`, and for our own contract tests.

A type's cases say what is expected of it; what goes for all types is said here, once.
"""

import ast
import base64
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from dbmod import errors, module_types, paths, yaml_file
from dbmod.hostside import dbmod_kit as kit
from dbmod.module_types import ModuleType
from dbmod.scratch_host import Host, Sent, snapshot

Case = Mapping[str, Any]
Snapshot = dict[str, tuple[object, ...]]
Complaints = Iterator[str]

KEYS = {"contents", "files", "server", "canary", "refused", "message", "would"}
KEYS |= {"changed", "after", "removed", "after_removed"}
OPTIONS = frozenset(["contents", "contents_base64", "state", "name", "instance", "module_id", "home"])
OLDEST = (3, 6)  # Python on hosts
YOUNGER = frozenset(["contextvars", "dataclasses", "graphlib", "tomllib", "zoneinfo"])  # in the library of later ones
IMPORTED = "ansible.module_utils"  # from where types import the kit
CUT_OFF_SECONDS = 0.02
TELLING = 6  # characters of base64: fewer are found in any answer
NO_CANARY = b"\0 no canary"
# What nobody means: a type refuses it, or takes it, and never falls over it.
ODD = (
    *(b"\0", b"\xff\xfe\xfa", b"=", b"=\n" * 50, b"\xef\xbb\xbfkey=value\n"),
    *(b"[" * 5000, b"{{ 1 }}\r\n", b"a" * (1 << 20)),
)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was tried.

    case     number of the type's case, from 1; 0: the type as a whole
    message  what is wrong, or why it was not tried
    """

    check: str
    case: int
    status: Literal["OK", "FAILED", "NOT TRIED"]
    message: str = ""


def carry_out(kind: ModuleType) -> Iterator[Trial]:
    """Try a type; each case gets a scratch host of its own, which is thrown away."""
    own = [] if kind.path.parent.absolute() == paths.content() / "library" else [kind.path.parent.absolute()]
    yield from of_whole(kind)
    for number, case in enumerate(kind.cases, 1):
        if "server" in case:
            yield Trial(check="applies", case=number, status="NOT TRIED", message=f"needs a server: {case['server']}")
            continue
        with tempfile.TemporaryDirectory(prefix="dbmod-type-") as place:
            yield from of_case(kind, number, Host(Path(place), *own))


def of_whole(kind: ModuleType) -> Iterator[Trial]:
    """Look at a type's file, without a host."""
    return (_judged(name, 0, check(kind)) for name, check in WHOLE.items())


def of_case(kind: ModuleType, number: int, host: Host) -> Iterator[Trial]:
    """Try one case of a type on a fresh host."""
    case = kind.cases[number - 1]
    prepared = _judged("begins with its files", number, _prepares(host, case))
    if prepared.status == "FAILED":
        yield prepared
        return
    if "refused" in case:
        yield _judged("refuses", number, _refuses(host, kind, case))
        return
    walk = _Walk(host, kind, case)
    for name, complaints in walk.steps():
        yield _judged(name, number, complaints)
        if walk.hangs():  # so it would in every further step
            return


def prepare(host: Host, case: Case) -> None:
    """Put the files there that a case begins with. Raises BadInput for a place beside the scratch host."""
    for name, data in case.get("files", {}).items():
        if ".." in Path(name).parts:
            raise errors.BadInput(f"the case's file {name} has .. in its path")
        for parent in reversed(host.path(name).relative_to(host.home.parent).parents):
            (host.home.parent / parent).mkdir(mode=0o700, exist_ok=True)
        host.path(name).write_bytes(data)


def _judged(check: str, case: int, complaints: Complaints) -> Trial:
    try:
        found = list(complaints)
    except Exception as error:  # noqa: BLE001  (the type's own words may hold anything)
        found = [f"{type(error).__name__} while it was tried"]
    return Trial(check=check, case=case, status="FAILED" if found else "OK", message=kit.one_line("; ".join(found)))


class _Walk:
    """One good case from nothing through apply, again, query and remove to nothing."""

    def __init__(self, host: Host, kind: ModuleType, case: Case) -> None:
        self.host, self.kind, self.case = host, kind, case
        self.sent: list[Sent] = []
        self.own = str(host.folder(kind.name).relative_to(host.home.parent))
        self.before: Snapshot = snapshot(host.home.parent)
        self.contents_before = self._bytes()

    def steps(self) -> Iterator[tuple[str, Complaints]]:
        yield "check mode changes nothing", self._check_mode()
        yield "applies", self._applies()
        yield "a second apply changes nothing", self._again()
        yield "query agrees", self._query()
        yield "remove undoes it", self._remove()
        yield "a cut-off apply heals", self._heals()
        yield "no secret is shown", self._secrets()

    def hangs(self) -> bool:
        return any(one.result.message == f"timed out after {self.host.limit_seconds:g} s" for one in self.sent)

    def _check_mode(self) -> Complaints:
        sent = self._apply(check=True)
        yield from _differs(sent, "OK", self.case.get("would", self.case["message"]), changed=True)
        if _quiet(snapshot(self.host.home.parent)) != _quiet(self.before):
            yield "something on the host is other than before"

    def _applies(self) -> Complaints:
        sent = self._apply(run="run-1")
        yield from _differs(sent, "OK", self.case["message"], changed=True)
        if sent.result.evidence is None:
            yield "the host wrote no result"
        yield from self._files("after")
        is_secret = self.kind.declares.secret
        if (self.host.folder(self.kind.name) / "contents.dat").exists() is is_secret:
            yield "contents of a secret type lie on the host" if is_secret else "the contents are not kept"

    def _again(self) -> Complaints:
        held = self._outside()
        sent = self._apply(run="run-2", serial=2)
        yield from _differs(sent, "OK", self.case["message"], changed=False)
        touched = [path for path, seen in self._outside().items() if held.get(path) != seen]
        if touched:
            yield f"it wrote again: {', '.join(touched[:3])}"

    def _query(self) -> Complaints:
        sent = self._keep(self.host.look("query", self.kind.name))
        if (sent.result.status, sent.result.note) != ("OK", ""):
            yield f"right after apply it says {sent.result.note or sent.result.status}: {sent.result.detail}"
        given = self.host.look("retrieve", self.kind.name)
        if given.result.contents != (None if self.kind.declares.secret else self.case["contents"]):
            yield "the contents on the host are not what was applied"

    def _remove(self) -> Complaints:
        sent = self._keep(self.host.remove(self.kind.name, run="run-3", serial=3))
        yield from _differs(sent, "OK", self.case.get("removed", sent.result.message), changed=True)
        yield from self._files("after_removed")
        told = {self._relative(self.host.path(name)) for name in self.case.get("after_removed", {})}
        left = [path for path, data in self._bytes().items() if self.contents_before.get(path) != data]
        if strange := [path for path in left if path not in told]:
            yield f"it left: {', '.join(strange[:3])}"
        if self.host.remove(self.kind.name, run="run-4", serial=4).result.changed:
            yield "a second remove says that it changed something"

    def _heals(self) -> Complaints:
        """Whatever a cut-off apply has left, the next one comes to the same end; on a fresh host."""
        types = map(Path, self.host.settings.type_directories)
        self.host, python = Host(self.host.home.parent / "cut-off", *types), self.host.python
        self.host.python = python
        prepare(self.host, self.case)
        self._apply(time_limit_seconds=CUT_OFF_SECONDS)
        sent = self._apply(run="run-2", serial=2)
        yield from _differs(sent, "OK", self.case["message"], changed=None)
        yield from self._files("after")
        self._keep(self.host.remove(self.kind.name, run="run-3", serial=3))

    def _secrets(self) -> Complaints:
        canary = self.case.get("canary", NO_CANARY)
        if any(_shows(one.output + one.errors, canary) for one in self.sent):
            yield "the canary is in what the host says"
        kept = (path for path in self.host.home.rglob("*") if path.is_file() and self.kind.declares.secret)
        if any(_shows(path.read_bytes(), canary) for path in kept):
            yield "the canary lies on the host"

    def _apply(self, **more: object) -> Sent:
        return self._keep(self.host.apply(self.kind.name, self.case["contents"], **more))

    def _keep(self, sent: Sent) -> Sent:
        self.sent.append(sent)
        return sent

    def _files(self, when: str) -> Complaints:
        for name, expected in self.case.get(when, {}).items():
            path = self.host.path(name)
            if (path.read_bytes() if path.exists() else None) != expected:
                yield f"{name} is not what the case's {when} has"

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.host.home.parent))

    def _outside(self) -> Snapshot:
        return {path: seen for path, seen in snapshot(self.host.home.parent).items() if not path.startswith(self.own)}

    def _bytes(self) -> dict[str, bytes]:
        """Give all files but the module's own, the stand-in's and the compiled kit."""
        top = self.host.home.parent
        files = ((self._relative(path), path) for path in sorted(top.rglob("*")) if path.is_file())
        spared = (self.own, "root/systemctl.", "home/kit")
        return {name: path.read_bytes() for name, path in files if not name.startswith(spared)}


def _prepares(host: Host, case: Case) -> Complaints:
    try:
        prepare(host, case)
    except (errors.BadInput, TypeError, AttributeError, OSError) as error:
        yield error.what if isinstance(error, errors.BadInput) else "files must be path → bytes, relative or absolute"


def _refuses(host: Host, kind: ModuleType, case: Case) -> Complaints:
    sent = host.apply(kind.name, case["contents"])
    yield from _differs(sent, "ERROR", case["refused"], changed=None)
    if sent.result.evidence is None or sent.result.evidence.status != "ERROR":
        yield "the refusal is not in the host's result"
    if _shows(sent.output + sent.errors, case.get("canary", NO_CANARY)):
        yield "the canary is in what the host says"


def _differs(sent: Sent, status: str, message: str, *, changed: bool | None) -> Complaints:
    """changed  None: either"""
    result = sent.result
    if (result.status, result.message) != (status, message):
        yield f"expected {status} {message!r}, and it says {result.status} {result.message!r}"
    elif changed is not None and result.changed is not changed:
        yield f"expected changed={changed}"


def _shows(output: bytes, canary: bytes) -> bool:
    """Tell whether the canary is there, as it is or in base64, wherever in its groups of three it begins."""
    encoded = (
        base64.b64encode(bytes(skip) + canary)[(0, 2, 3)[skip] : (skip + len(canary)) * 4 // 3] for skip in range(3)
    )
    return canary in output or any(len(one) >= TELLING and one in output for one in encoded)


def _quiet(seen: Snapshot) -> Snapshot:
    """Leave out what the stand-in of systemctl writes down: that it was asked something."""
    return {path: facts for path, facts in seen.items() if path not in ("root", "root/systemctl.log")}


def _documented(kind: ModuleType) -> Complaints:
    names: dict[str, Any] = module_types.functions(kind).apply.__globals__
    texts = {}
    for name in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
        try:
            texts[name] = yaml_file.parse(str(names.get(name, "")).encode(), origin=name)
        except errors.BadInput as error:
            yield error.what
    told = texts.get("DOCUMENTATION") or {}
    if told.get("module") != f"dbmod_{kind.name}" or told.get("short_description") != kind.summary:
        yield f"DOCUMENTATION must have module: dbmod_{kind.name} and a short_description"
    if set(told.get("options") or {}) != OPTIONS:
        yield f"DOCUMENTATION's options must be {', '.join(sorted(OPTIONS))}"
    if not texts.get("EXAMPLES"):
        yield "EXAMPLES is missing"
    if not {"message", "status"} <= set(texts.get("RETURN") or {}):
        yield "RETURN must have message and status"


def _has_cases(kind: ModuleType) -> Complaints:
    if not any("refused" in case for case in kind.cases) or not any("message" in case for case in kind.cases):
        yield "CASES must have contents that are good and contents that are refused"
    for number, case in enumerate(kind.cases, 1):
        if unknown := sorted(set(case) - KEYS):
            yield f"case {number} has {', '.join(unknown)}, which mean nothing"
        if kind.declares.secret and "message" in case and "canary" not in case:
            yield f"case {number} of a secret type names no canary"


def _is_portable(kind: ModuleType) -> Complaints:
    source = kind.path.read_text(encoding="utf-8")
    try:
        tree = ast.parse(source, feature_version=OLDEST)
    except SyntaxError as error:
        yield f"line {error.lineno} is not Python {OLDEST[0]}.{OLDEST[1]}: {error.msg}"
        return
    for node in ast.walk(tree):
        future = node.names if isinstance(node, ast.ImportFrom) and node.module == "__future__" else []
        if any(one.name == "annotations" for one in future):
            yield f"line {getattr(node, 'lineno', 0)} is not Python {OLDEST[0]}.{OLDEST[1]}: future annotations"
        modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            if module != IMPORTED and module.partition(".")[0] not in sys.stdlib_module_names - YOUNGER:
                yield f"line {getattr(node, 'lineno', 0)} imports {module}, which hosts need not have"


def _validates(kind: ModuleType) -> Complaints:
    for number, case in enumerate(kind.cases, 1):
        said = _validation(kind, case["contents"])
        if said != case.get("refused", ""):
            yield f"case {number}: validate says {said!r}, and the case {case.get('refused', '')!r}"
    for contents in ODD:
        if f" in {kind.name}'s validate" in (said := _validation(kind, contents)):
            yield f"{said}, for {contents[:12]!r}"


def _validation(kind: ModuleType, contents: bytes) -> str:
    """Give the refusal of contents, "" where there is none."""
    try:
        module_types.validate(kind, contents)
    except errors.BadInput as refusal:
        return refusal.what
    return ""


WHOLE: dict[str, Callable[[ModuleType], Complaints]] = {
    "is documented": _documented,
    "has cases of both kinds": _has_cases,
    "runs on Python 3.6 without more": _is_portable,
    "validates, and never falls over": _validates,
}
