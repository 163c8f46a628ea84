"""dbmod_password: give a server the administrator's password, by files that hold it and by its own client.

The password is made here at the first call, kept encrypted in the store under its owner's id, and sent on standard
input: it is in no argument, variable, event or log. In texts @password@ and @sha256@ are filled in.

    owner       id of the cluster whose members share it, or of the single instance
    files       list of {path, text, uid}, made where missing; uid absent or empty: whoever connects
    client      the client's command, a list; it reads statements from standard input
    statements  the text it reads
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

import dbmod
from dbmod import clients, config, errors, passwords, store

HOST_SIDE = Path(dbmod.__file__).parent / "hostside" / "dbmod_secret_files.py"
BOOTSTRAP = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())).decode())"


class ActionModule(ActionBase):
    """See the module's docstring."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        check = bool(self._task.check_mode)
        arguments = self._task.args
        try:
            password = "" if check else passwords.make(store.open(config.load().settings), str(arguments["owner"]))
        except errors.DbmodError as error:
            return result | {"failed": True, "msg": " · ".join(error.lines())}
        result["changed"] = False
        if arguments.get("files"):
            python = str((task_vars or {}).get("ansible_python_interpreter", "/usr/bin/python3"))
            result |= self._write_files(arguments["files"], password, python=python, check=check)
        if arguments.get("client") and not result.get("failed"):
            result |= {"changed": True} if check else self._tell(arguments, password)
        return result

    def _write_files(self, wanted: list[Any], password: str, *, python: str, check: bool) -> dict[str, Any]:
        files = [[str(file["path"]), str(file["text"]), number_or_none(file.get("uid"))] for file in wanted]
        source = HOST_SIDE.read_bytes()
        request = json.dumps({"files": files, "password": password, "check": check}).encode()
        answer = self._low_level_execute_command(
            f"{shlex.quote(python)} -IS -c {shlex.quote(BOOTSTRAP)}",
            sudoable=True,
            in_data=str(len(source)).encode() + b"\n" + source + request,
        )
        return outcome(answer)

    def _tell(self, arguments: dict[str, Any], password: str) -> dict[str, Any]:
        digest = hashlib.sha256(password.encode()).hexdigest()
        text = str(arguments["statements"]).replace("@password@", password).replace("@sha256@", digest)
        answer = self._low_level_execute_command(
            shlex.join(str(word) for word in arguments["client"]), sudoable=True, in_data=text.encode()
        )
        return clients.outcome(answer, what="the administrator's password was")


def number_or_none(value: Any) -> int | None:
    return None if value in (None, "") else int(value)


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
