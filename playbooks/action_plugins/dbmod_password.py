"""dbmod_password: make the files of a server that hold its password, where they are missing.

A password of one server is made on its host. One that the members of a cluster share is made here, kept encrypted in
the ledger under the cluster's id, and sent on standard input: it is in no argument, variable, event or log.

    shared_by   id of the cluster; empty for a single server
    files       list of {path, text}; the first is the password's own. @password@ and @sha256@ are filled in
    uid         whose the files are, from the second on; absent: whoever connects
"""

from __future__ import annotations

import json
import secrets
import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

import dbmod
from dbmod import config, errors, store

HOST_SIDE = Path(dbmod.__file__).parent / "hostside" / "dbmod_secret_files.py"
BOOTSTRAP = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())).decode())"


class ActionModule(ActionBase):
    """See the module's docstring."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        check = bool(self._task.check_mode)
        shared_by = str(self._task.args["shared_by"])
        uid = self._task.args.get("uid")
        owner = None if uid in (None, "") else int(uid)
        files = [
            [str(file["path"]), str(file["text"]), owner if position else None]
            for position, file in enumerate(self._task.args["files"])
        ]
        try:
            password = shared_password(shared_by) if shared_by and not check else ""
        except errors.DbmodError as error:
            return result | {"failed": True, "msg": " · ".join(error.lines())}
        python = str((task_vars or {}).get("ansible_python_interpreter", "/usr/bin/python3"))
        source = HOST_SIDE.read_bytes()
        request = json.dumps({"files": files, "password": password, "check": check}).encode()
        answer = self._low_level_execute_command(
            f"{shlex.quote(python)} -IS -c {shlex.quote(BOOTSTRAP)}",
            sudoable=True,
            in_data=str(len(source)).encode() + b"\n" + source + request,
        )
        return result | outcome(answer)


def outcome(answer: dict[str, Any]) -> dict[str, Any]:
    """Read what the host says, which is data and never shown as it is."""
    try:
        said = json.loads(str(answer["stdout"]).splitlines()[-1])
        reason = str(said["error"])
        changed = bool(said["changed"])
    except (ValueError, IndexError, KeyError, TypeError):
        return {"failed": True, "msg": f"the host did not make the password's files (exit {answer.get('rc')})"}
    if reason:
        return {"failed": True, "msg": f"the password's files were not made: {reason}"}
    return {"changed": changed}


def shared_password(cluster: str) -> str:
    """Give the password of a cluster's members, made at the first call. Members ask at once: the lock orders them."""
    ledger = store.open(config.load().settings)
    with ledger.transaction(holder=f"password of cluster {cluster}"):
        try:
            return ledger.read_contents(cluster, 0).decode()
        except errors.NotFound:
            password = secrets.token_hex(20)
            ledger.write_contents(cluster, 0, password.encode())
            return password
