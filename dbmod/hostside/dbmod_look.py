# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Query and retrieve: what the result says, what really lies on the host, and where the two differ."""

import binascii
import os
from typing import Any, Dict, List, Optional, Tuple

from . import dbmod_evidence as evidence_of
from . import dbmod_files as files
from . import dbmod_kit as kit
from . import dbmod_work as work

CONTENTS_LIMIT_BYTES = 64 << 20


def look(request: work.Request, module: work.Module, kind: Optional[kit.Type], instance: Optional[int]) -> work.Line:
    """Compare one module's result with the bytes on the host; never raises, changes nothing.

    kind  None where its type is not known here
    note  "" as the result says; detail may say that it waits for a restart · "drifted" · "missing" · "unknown": no
          result that can be believed, or the type itself could not tell
    """
    try:
        with work.module_folder(instance, module, False) as folder:
            found = evidence_of.read(folder, request["instance"])
            if found.problem:
                return _unknown(module, found.problem)
            if found.evidence is None or folder is None:
                reason = "not on the host"
                return work.line(module, "ERROR", reason, note="missing", detail=reason, observed="")
            answer = _compared(module, found.evidence, kind, folder)
            if request["verb"] == "retrieve":
                answer.update(_contents(found.evidence, kind, folder))
            if kind is not None and kind.query is not None and _is_whole(found.evidence, answer):
                held = files.read(folder, evidence_of.CONTENTS, CONTENTS_LIMIT_BYTES) or b""
                outcome = work.call(request, module, kind, held)
                said = outcome["message"]
                if outcome["status"] != "OK":
                    answer.update(note="unknown", detail=said)
                elif said.startswith("overridden"):
                    answer.update(note="drifted", detail=said)
                elif said.startswith("pending restart"):
                    answer.update(detail=said)
                elif said:
                    answer.update(note="missing", observed="", detail=said)
            return answer
    except OSError as error:
        return _unknown(module, kit.one_line("cannot be read (%s)" % error.strerror))
    except files.Unusable as error:
        return _unknown(module, kit.one_line(str(error)))
    except Exception as error:
        return _unknown(module, "%s in dbmod's kit on the host" % type(error).__name__)


def _unknown(module: work.Module, reason: str) -> work.Line:
    return work.line(module, "ERROR", reason, note="unknown", detail=reason)


def _is_whole(evidence: Dict[str, Any], answer: work.Line) -> bool:
    return evidence["status"] == "OK" and evidence["removed"] is None and not answer["note"]


def _compared(module: work.Module, evidence: Dict[str, Any], kind: Optional[kit.Type], folder: int) -> work.Line:
    answer = work.line(module, evidence["status"], kit.one_line(evidence["message"]), evidence=evidence)
    there = files.look(folder, evidence_of.CONTENTS)
    is_secret = kind is not None and kind.declares.secret
    if evidence["removed"] is not None or is_secret:
        if files.exists(folder, evidence_of.CONTENTS):
            answer.update(note="drifted", observed=there.sha256, detail="contents.dat should not be there")
    elif kind is None and not files.exists(folder, evidence_of.CONTENTS):
        answer.update(detail="its type is not known here")  # it may be a secret one
    elif not there.sha256:
        answer.update(note="missing", observed="", detail=there.problem)
    elif there.sha256 != evidence["sha256"]:
        answer.update(note="drifted", observed=there.sha256, detail="contents.dat is not what was applied")
    else:
        answer.update(note="drifted" if there.problem else "", observed=there.sha256, detail=there.problem)
    return answer


def _contents(evidence: Dict[str, Any], kind: Optional[kit.Type], folder: int) -> Dict[str, Any]:
    if kind is not None and kind.declares.secret:
        return {"detail": "the contents are secret: the host keeps no copy"}
    data = files.read(folder, evidence_of.CONTENTS, CONTENTS_LIMIT_BYTES) if evidence["removed"] is None else None
    return {"contents": binascii.b2a_base64(data, newline=False).decode("ascii")} if data is not None else {}


def present(instance: Optional[int]) -> Tuple[List[Dict[str, str]], str]:
    """List type and id of every module that has a folder on this instance; and say why that may not be all."""
    found: List[Dict[str, str]] = []
    problem = ""
    if instance is None:
        return found, problem
    with files.folder(instance, ["modules"]) as modules:
        for kind in _names(modules):
            assert modules is not None
            try:
                with files.folder(modules, [kind]) as folder:
                    found.extend({"type": kind, "module": module} for module in _names(folder))
            except files.Unusable as error:
                problem = str(error)
    return found, problem


def _names(folder: Optional[int]) -> List[str]:
    """List the names that dbmod itself could have made."""
    names = os.listdir(folder) if folder is not None else []
    return sorted(name for name in names if name.replace("-", "").replace("_", "").isalnum() and name.isprintable())
