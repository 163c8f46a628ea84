# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every verb on a host shares: the request's shape, folders and locks, calling a type's function, the answer.

request  run, serial (None: as found), verb, check, follows, home, instance, facts (what kit.Host takes),
         time_limit_seconds, lock_wait_seconds, failpoint
module   module (its id), type, name, datastore, datastore_version, tenant, version_number, md5, sha256, removes,
         auto_apply, visible, is_admin
line     what a verb gives for one module: module, type, status, message, changed, note, detail, observed, evidence,
         contents (base64, retrieve only)
"""

import contextlib
import errno
import os
import time
from typing import Any, Callable, Dict, Iterator, Optional

from . import dbmod_child as child
from . import dbmod_files as files
from . import dbmod_kit as kit

Line = Dict[str, Any]
Request = Dict[str, Any]
Module = Dict[str, Any]

FAILPOINT_SECONDS = 60


def failpoint(request: Request, name: str) -> None:
    """Stop here for a test that wants to kill this process here; see failpoints.py on the controller."""
    wanted = request.get("failpoint")
    if not wanted or wanted["name"] != name:
        return
    with open(wanted["file"], "a") as file:
        file.write("%d\n" % os.getpid())
    deadline = time.monotonic() + FAILPOINT_SECONDS
    while os.path.exists(wanted["file"]) and time.monotonic() < deadline:
        time.sleep(0.02)


def line(module: Module, status: str, message: str, **more: Any) -> Line:
    """Make the answer about one module."""
    answer: Line = {"module": module["module"], "type": module["type"], "status": status, "message": message}
    answer.update(changed=False, note="", detail="", observed=None, evidence=None)
    answer.update(more)
    return answer


def is_look(request: Request) -> bool:
    return request["verb"] not in ("apply", "remove") or bool(request["check"])


@contextlib.contextmanager
def instance_folder(request: Request) -> Iterator[Optional[int]]:
    """Open and lock the instance's folder: alone for a change, together with other readers for a look."""
    writes = not is_look(request)
    directory = request["facts"].get("directory")
    if request["verb"] in ("apply", "remove") and directory and not os.path.isdir(directory):
        raise files.Unusable("%s is not there" % directory)  # an unmounted volume must not be made up for
    with files.folder(request["home"], ["instances", request["instance"]], make=writes) as folder:
        if folder is None:
            yield None
            return
        with files.locked(folder, writes, request["lock_wait_seconds"]):
            yield folder


@contextlib.contextmanager
def module_folder(instance: Optional[int], module: Module, make: bool) -> Iterator[Optional[int]]:
    """Open the folder of one module; gives None where it is not there."""
    if instance is None:
        yield None
        return
    with files.folder(instance, ["modules", module["type"], module["module"]], make) as folder:
        yield folder


@contextlib.contextmanager
def host_lock(request: Request, kind: kit.Type) -> Iterator[None]:
    """A type of host scope changes what all instances of the host share: each waits for the one before."""
    if kind.declares.scope != "host" or is_look(request):
        yield
        return
    with files.folder(request["home"], ["instances"], make=True) as shared:
        assert shared is not None
        with files.locked(shared, True, request["lock_wait_seconds"] + request["time_limit_seconds"], "host"):
            yield


def host_of(request: Request, unfinished: bool = False, **more: Any) -> kit.Host:
    """Give the host as a type sees it. more: what else it knows of a module."""
    facts = dict(request["facts"], instance=request["instance"], home=request["home"], **more)
    facts["directory"] = facts.get("directory") or _instance_path(request)
    facts["limit_seconds"] = request["time_limit_seconds"]
    return kit.Host(facts, check=request["check"], unfinished=unfinished)


def _instance_path(request: Request) -> str:
    return os.path.join(request["home"], "instances", request["instance"])


def call(request: Request, module: Module, kind: kit.Type, contents: bytes, unfinished: bool = False) -> Dict[str, Any]:
    """Run the type's function for the request's verb in a child; give status, message and changed, whatever it does."""
    folder = os.path.join(_instance_path(request), "modules", module["type"], module["module"])
    host = host_of(request, unfinished, module=module["module"], folder=folder, held=contents)
    verb = request["verb"] if request["verb"] in ("apply", "remove") else "query"

    def work() -> Dict[str, Any]:
        if verb == "apply":
            kind.validate(contents)
            return _outcome(kind.apply(contents, host))
        if verb == "remove":
            return _outcome(kind.remove(contents, host))
        assert kind.query is not None
        return {"status": "OK", "message": kit.one_line(str(kind.query(host) or "")), "changed": False}

    ended = child.run(_guarded(work, "%s's %s" % (kind.name, verb)), request["time_limit_seconds"])
    if ended.answer is not None:
        return ended.answer
    return {"status": "ERROR", "message": ended.problem, "changed": False}


def _outcome(outcome: kit.Outcome) -> Dict[str, Any]:
    return {"status": "OK", "message": kit.one_line(str(outcome.message)), "changed": bool(outcome.changed)}


def _guarded(work: Callable[[], Dict[str, Any]], where: str) -> Callable[[], Dict[str, Any]]:
    """The one place that catches everything a type may raise: its reason if it refuses, else only the kind.

    Of an error of the system that is its number, in words.
    """

    def guarded() -> Dict[str, Any]:
        try:
            return work()
        except kit.Refused as refusal:
            message = str(refusal)
        except BaseException as error:
            number = error.errno if isinstance(error, OSError) else None  # a resolver's are below 0
            cause = " (%s)" % os.strerror(number) if number and number in errno.errorcode else ""
            message = "%s%s in %s" % (type(error).__name__, cause, where)
        return {"status": "ERROR", "message": kit.one_line(message), "changed": False}

    return guarded
