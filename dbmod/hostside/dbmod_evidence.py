# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""result.json, the host's own evidence of one module: its fields, reading it without trust, making the next one."""

import contextlib
import json
import time
from typing import Any, Dict, NamedTuple, Optional

from . import dbmod_files as files

CONTENTS = "contents.dat"
RESULT = "result.json"
NEW_CONTENTS = ".contents.dat.new"
NEW_RESULT = ".result.json.new"
LIMIT_BYTES = 65536  # of a result; the longest real one is below 16 KiB
RESERVED_BYTES = 16384
MACHINE_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")

FIELDS: Dict[str, Any] = {
    "instance": str,
    "machine": str,
    "run": str,
    "serial": int,
    "verb": str,
    "type": str,
    "name": str,
    "datastore": str,
    "datastore_version": str,
    "tenant": str,
    "module": str,
    "version_number": int,
    "md5": str,
    "sha256": str,
    "status": str,
    "message": str,
    "created": str,
    "updated": str,
    "removed": (str, type(None)),
    "auto_apply": bool,
    "visible": bool,
    "is_admin": bool,
}
OF_THE_MODULE = ("type", "name", "datastore", "datastore_version", "tenant", "auto_apply", "visible", "is_admin")
OF_THE_VERSION = ("version_number", "md5", "sha256")


class Read(NamedTuple):
    """A result as found.

    evidence  its fields, None where there is none that can be believed
    problem   why it cannot be believed; empty where there is none at all
    """

    evidence: Optional[Dict[str, Any]]
    problem: str


def machine() -> str:
    """Give this host's machine-id, "" where it has none."""
    for path in MACHINE_FILES:
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            return file.read(64).strip()
    return ""


def now() -> str:
    """Give the time as ISO 8601 in UTC, to the microsecond."""
    moment = time.time()
    return "%s.%06d+00:00" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)), moment % 1 * 1000000)


def read(folder: Optional[int], instance: str) -> Read:
    """Read the result in a module's folder; one of another instance or machine is not ours."""
    if folder is None or not files.exists(folder, RESULT):
        return Read(None, "")
    data = files.read(folder, RESULT, LIMIT_BYTES)
    evidence = _decoded(data) if data is not None else None
    if evidence is None:
        return Read(None, "result.json is damaged")
    if evidence["instance"] != instance:
        return Read(None, "result.json names another instance")
    if evidence["machine"] != machine():
        return Read(None, "result.json names another machine")
    return Read(evidence, "")


def _decoded(data: bytes) -> Optional[Dict[str, Any]]:
    try:
        evidence = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(evidence, dict) or set(evidence) != set(FIELDS):
        return None
    whole = all(isinstance(evidence[name], kind) for name, kind in FIELDS.items())
    whole = whole and not isinstance(evidence["serial"], bool) and not isinstance(evidence["version_number"], bool)
    return evidence if whole and evidence["status"] in ("OK", "ERROR") else None


def made(
    request: Dict[str, Any], module: Dict[str, Any], previous: Optional[Dict[str, Any]], status: str, message: str
) -> Dict[str, Any]:
    """Make the evidence of what was just done; the time of the first apply survives.

    previous  what was there; a removal keeps its version, because that is what was removed
    """
    moment = now()
    removing = request["verb"] == "remove"
    version = previous if removing and previous is not None else module
    evidence = {name: module[name] for name in OF_THE_MODULE}
    evidence.update({name: version[name] for name in OF_THE_VERSION})
    removed = (previous or {}).get("removed") if removing else None
    evidence.update(
        instance=request["instance"],
        machine=machine(),
        run=request["run"],
        serial=request["serial"],
        verb=request["verb"],
        module=module["module"],
        status=status,
        message=message,
        created=previous["created"] if previous is not None else moment,
        updated=moment,
        removed=(removed or moment) if removing and status == "OK" else removed,
    )
    return evidence


def encoded(evidence: Dict[str, Any]) -> bytes:
    return json.dumps(evidence, sort_keys=True, indent=1).encode("ascii") + b"\n"
