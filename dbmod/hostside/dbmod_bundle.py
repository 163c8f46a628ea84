# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answer one request on a host: lines on standard output, each whole, between `dbmod-started` and `dbmod-finished`."""

import contextlib
import json
import os
import sys
import types
from typing import Any, BinaryIO, Dict, Optional

from . import dbmod_change as change
from . import dbmod_files as files
from . import dbmod_kit as kit
from . import dbmod_look as look
from . import dbmod_work as work


class _Gone(Exception):
    """Nobody listens any more: what is done is in result.json, nothing further is started."""


def run(header: Dict[str, Any], sources: Dict[str, str], stream: BinaryIO) -> None:
    """Do what the header asks, with the contents that follow it on *stream*; never raises."""
    os.umask(0o077)
    try:
        if header["verb"] in ("query", "retrieve"):
            _start(header)
            is_done = _look(header, sources)
        elif header["verb"] == "health":
            _start(header)
            _say("dbmod-health %s %s" % (header["run"], json.dumps(_health(header, sources))))
            is_done = True
        else:
            _change(header, sources, stream)
            is_done = True
        if is_done:
            _say("dbmod-finished %s" % header["run"])
    except _Gone:
        os._exit(1)  # flushing the broken pipe at the end would only complain


def _change(header: Dict[str, Any], sources: Dict[str, str], stream: BinaryIO) -> None:
    """Read the contents of one module at a time; before the first are complete nothing counts as started."""
    modules = header["modules"]
    first = _contents(stream, modules[0]) if modules else b""
    if first is None:
        _refused(header, "the request did not arrive complete")
        return
    _start(header)
    failed = ""
    try:
        with work.instance_folder(header) as instance:
            for index, module in enumerate(modules):
                contents = _contents(stream, module) if index else first
                if contents is None:
                    _result(header, work.line(module, "ERROR", "the contents did not arrive complete"))
                    continue
                _result(header, _one(header, sources, module, contents, instance))
    except files.Unusable as error:
        failed = kit.one_line(str(error))
    except OSError as error:
        failed = kit.one_line("%s cannot be used (%s)" % (header["home"], error.strerror))
    if failed:
        for module in modules:
            _result(header, work.line(module, "ERROR", failed))
        for module in modules[1:]:
            _contents(stream, module)  # read to the end, or the sender is the one who sees a broken pipe


def _one(
    header: Dict[str, Any], sources: Dict[str, str], module: Dict[str, Any], contents: bytes, instance: Optional[int]
) -> Dict[str, Any]:
    try:
        kind = _loaded(sources, module["type"])
    except (Exception, SystemExit) as error:
        where = "loading %s on Python %d.%d" % (module["type"], sys.version_info[0], sys.version_info[1])
        return work.line(module, "ERROR", "%s in %s" % (type(error).__name__, where))
    if kind is None:
        return work.line(module, "ERROR", "Module type '%s' was not found." % module["type"])
    if module["removes"]:
        header = dict(header, verb="remove")
    return change.change(header, module, kind, contents, instance)


def _look(header: Dict[str, Any], sources: Dict[str, str]) -> bool:
    """Report the modules asked for, or with none named every module that is there; False where it was refused."""
    try:
        with work.instance_folder(header) as instance:
            modules, problem = (header["modules"], "") if header["modules"] else look.present(instance)
            for module in modules:
                try:
                    kind = _loaded(sources, module["type"])
                except (Exception, SystemExit):  # a type that does not load here still has a result to report
                    kind = None
                _result(header, look.look(header, module, kind, instance))
            if problem:  # those that could not be listed are unknown, the others are not
                _refused(header, problem)
    except (files.Unusable, OSError) as error:
        _refused(header, getattr(error, "strerror", None) or str(error))
        return False
    return True


def _health(header: Dict[str, Any], sources: Dict[str, str]) -> Dict[str, Any]:
    """Ask the server how it is, as its datastore's health.py does."""
    _install_parts(sources, "health")
    datastore: Dict[str, Any] = {"__name__": "dbmod_datastore"}
    exec(compile(sources["health"], "health.py", "exec"), datastore)
    answer: Dict[str, Any] = datastore["health"].look(header, datastore)
    return answer


def _loaded(sources: Dict[str, str], name: str) -> Optional[kit.Type]:
    if name not in sources:
        return None
    _install_parts(sources, name)
    return kit.load(name, sources[name], "dbmod_%s.py" % name)[0]


def _install_parts(sources: Dict[str, str], name: str) -> None:
    """Let a source import the parts of the kit that came with it: those that it names."""
    for part in [part for part in sources if part.startswith(".") and part[1:] in sources[name]]:
        _install(part[1:], sources[part])


def _install(part: str, source: str) -> None:
    package: Any = sys.modules[__package__ or ""]
    if hasattr(package, part):
        return
    module: Any = types.ModuleType("%s.%s" % (__package__, part))
    module.__package__ = __package__
    sys.modules[module.__name__] = module
    exec(compile(source, part + ".py", "exec"), module.__dict__)
    setattr(package, part, module)


def _contents(stream: BinaryIO, module: Dict[str, Any]) -> Optional[bytes]:
    data = stream.read(module["size_bytes"])
    return data if len(data) == module["size_bytes"] else None


def _start(header: Dict[str, Any]) -> None:
    _say("\ndbmod-started %s" % header["run"])  # whatever a login printed before stays on a line of its own
    with contextlib.suppress(OSError):
        os.write(2, b"\ndbmod-started %s\n" % header["run"].encode("ascii", "replace"))
    work.failpoint(header, "host_started")


def _result(header: Dict[str, Any], line: Dict[str, Any]) -> None:
    _say("dbmod-result %s %s" % (header["run"], json.dumps(line)))


def _refused(header: Dict[str, Any], reason: str) -> None:
    _say("dbmod-refused %s %s" % (header["run"], kit.one_line(reason)))


def _say(text: str) -> None:
    try:
        data = memoryview(text.encode("ascii", "replace") + b"\n")
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        raise _Gone from None
