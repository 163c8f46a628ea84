# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apply and remove one module of one instance: contents, then the type, then result.json, which is the evidence."""

import os
from typing import Any, Dict, Optional

from . import dbmod_evidence as evidence_of
from . import dbmod_files as files
from . import dbmod_kit as kit
from . import dbmod_work as work

CONTENTS_LIMIT_BYTES = 64 << 20

Evidence = Dict[str, Any]


def change(
    request: work.Request, module: work.Module, kind: kit.Type, contents: bytes, instance: Optional[int]
) -> work.Line:
    """Apply or remove one module; never raises.

    contents  ignored when removing: the type is given what lies on the host
    instance  the open, locked folder of the instance; None in check mode where there is none
    """
    try:
        if request.get("baseline"):
            found = work.call(dict(request, check=True), module, kind, contents)
            if found["status"] != "OK" or found["changed"]:
                said = found["message"] if found["status"] != "OK" else "applying it would change something"
                return work.line(module, found["status"], kit.one_line("not recorded: %s" % said), note="differs")
            kind = kind._replace(apply=lambda _contents, _host: kit.Outcome(changed=False, message=found["message"]))
        with work.host_lock(request, kind), work.module_folder(instance, module, not request["check"]) as folder:
            previous = evidence_of.read(folder, request["instance"]).evidence
            if request["serial"] is None:
                request = dict(request, serial=previous["serial"] if previous is not None else 0)
            refusal = _refusal(request, module, kind, contents, previous)
            if refusal:
                return work.line(module, "ERROR", refusal)
            if request["verb"] == "remove":
                contents = _held(folder)
            differs = _differs(request, module, kind, folder, previous)
            if folder is None or request["check"]:
                outcome = work.call(request, module, kind, contents, _is_unfinished(folder, previous))
                return _line(module, outcome, differs)
            return _recorded(request, module, kind, contents, folder=folder, previous=previous, differs=differs)
    except files.Unusable as error:
        return work.line(module, "ERROR", kit.one_line(str(error)))
    except OSError as error:
        return work.line(module, "ERROR", kit.one_line("%s cannot be used (%s)" % (request["home"], error.strerror)))
    except Exception as error:  # the kind only: a text may hold contents
        return work.line(module, "ERROR", "%s in dbmod's kit on the host" % type(error).__name__)


def _refusal(
    request: work.Request, module: work.Module, kind: kit.Type, contents: bytes, previous: Optional[Evidence]
) -> str:
    """Say why nothing may be touched; empty where it may."""
    if previous is not None and request["serial"] < previous["serial"]:
        return "refused: serial %d is older than %d, which wrote here last" % (request["serial"], previous["serial"])
    if request["verb"] == "apply" and files.sha256(contents).hexdigest() != module["sha256"]:
        return "the contents did not arrive as they were sent (sha256 differs); nothing was written"
    root = os.environ.get(kit.TEST_ROOT, "")
    if "root" in kind.declares.needs and not root and os.geteuid() != 0:
        return "%s needs root on the host" % kind.name
    if "systemd" in kind.declares.needs and not os.path.isdir(root + "/run/systemd/system"):
        return "%s needs systemd on the host" % kind.name
    return ""


def _held(folder: Optional[int]) -> bytes:
    if folder is None:
        return b""
    return files.read(folder, evidence_of.CONTENTS, CONTENTS_LIMIT_BYTES) or b""


def _differs(
    request: work.Request, module: work.Module, kind: kit.Type, folder: Optional[int], previous: Optional[Evidence]
) -> bool:
    """Tell whether the kit's own part will change: contents to write, or contents or a live result to remove."""
    is_live = previous is not None and previous["removed"] is None
    if request["verb"] == "remove":
        return is_live or (folder is not None and files.exists(folder, evidence_of.CONTENTS))
    if kind.declares.secret:
        return not (is_live and previous is not None and previous["sha256"] == module["sha256"])
    return folder is None or files.look(folder, evidence_of.CONTENTS) != files.Found(module["sha256"], "")


def _is_unfinished(folder: Optional[int], previous: Optional[Evidence]) -> bool:
    """Tell whether the last try failed, or was cut off: its reserved result is still there."""
    failed = previous is not None and previous["status"] != "OK"
    return failed or (folder is not None and files.exists(folder, evidence_of.NEW_RESULT))


def _done_before(request: work.Request, module: work.Module, previous: Optional[Evidence]) -> Optional[Dict[str, Any]]:
    """Give what a run that this one goes on with has done here and could not tell: nothing is done twice."""
    if previous is None or previous["run"] not in request.get("follows", ()) or previous["status"] != "OK":
        return None
    if previous["verb"] != request["verb"] or (request["verb"] == "apply" and previous["sha256"] != module["sha256"]):
        return None
    return {"status": "OK", "message": previous["message"], "changed": False}


def _recorded(
    request: work.Request,
    module: work.Module,
    kind: kit.Type,
    contents: bytes,
    *,
    folder: int,
    previous: Optional[Evidence],
    differs: bool,
) -> work.Line:
    """Do it and write the result, whose room is taken first: a full disk is found before anything has changed."""
    was_cut_off = files.exists(folder, evidence_of.NEW_RESULT)
    unfinished = _is_unfinished(folder, previous)
    outcome: Optional[Dict[str, Any]] = None
    try:
        result = files.reserve(folder, evidence_of.NEW_RESULT, evidence_of.RESERVED_BYTES)
        try:
            if request["verb"] == "apply":
                _place_contents(request, kind, contents, folder, differs)
            work.failpoint(request, "before_type")
            done = _done_before(request, module, previous)
            outcome = done or work.call(request, module, kind, contents, unfinished)
            work.failpoint(request, "after_type")
            if request["verb"] == "remove" and outcome["status"] == "OK":
                files.remove(folder, evidence_of.CONTENTS)
            evidence = evidence_of.made(request, module, previous, outcome["status"], outcome["message"])
            work.failpoint(request, "before_result")
            files.fill(result, evidence_of.encoded(evidence))
            files.rename(folder, evidence_of.NEW_RESULT, evidence_of.RESULT)
            work.failpoint(request, "after_result")
        finally:
            os.close(result)
    except OSError as error:
        needed = evidence_of.RESERVED_BYTES + (len(contents) if request["verb"] == "apply" else 0)
        message = files.no_room(error, folder, request["home"], needed)
        if outcome is None and not was_cut_off:  # otherwise the next try must see that this one did not end well
            files.remove(folder, evidence_of.NEW_RESULT)
        return work.line(module, "ERROR", kit.one_line(message))
    differs = differs and (request["verb"] == "apply" or outcome["status"] == "OK")
    return dict(_line(module, outcome, differs), evidence=evidence)


def _place_contents(request: work.Request, kind: kit.Type, contents: bytes, folder: int, differs: bool) -> None:
    if kind.declares.secret:
        files.remove(folder, evidence_of.CONTENTS)  # of a time when the type was not secret yet
    elif differs:
        files.write_new(folder, evidence_of.NEW_CONTENTS, contents, halfway=lambda: work.failpoint(request, "mid_copy"))
        work.failpoint(request, "after_stage")
        files.rename(folder, evidence_of.NEW_CONTENTS, evidence_of.CONTENTS)
        work.failpoint(request, "after_contents_rename")


def _line(module: work.Module, outcome: Dict[str, Any], differs: bool) -> work.Line:
    return work.line(module, outcome["status"], outcome["message"], changed=differs or outcome["changed"])
