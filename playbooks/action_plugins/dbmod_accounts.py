"""dbmod_accounts: make the databases and users that were asked for when the instance was created.

They lie encrypted in the ledger, under the run's id. What the client has to execute is written by the datastore's own
accounts.py and goes to the client on its standard input: no password is in an argument, variable, event or log.

    run         id of the run
    instance    id of the instance
    datastore   its datastore
    client      the client's command, a list; it reads statements from standard input
    succeeded   what the client's output says once for each statement; empty: its exit code tells
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import clients, config, datastores, errors, store


class ActionModule(ActionBase):
    """See the module's docstring."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        try:
            asked = wanted(str(arguments["run"]), str(arguments["instance"]))
            text = write(str(arguments["datastore"]), asked) if asked else ""
        except errors.DbmodError as error:
            return result | {"failed": True, "msg": " · ".join(error.lines())}
        if not text or self._task.check_mode:
            return result | {"changed": bool(text)}
        answer = self._low_level_execute_command(
            shlex.join(str(word) for word in arguments["client"]), sudoable=True, in_data=text.encode()
        )
        return result | clients.outcome(
            answer,
            what="the databases and users were",
            succeeded=str(arguments["succeeded"]),
            statements=text.count("\n"),
        )


def wanted(run: str, instance: str) -> dict[str, Any]:
    """Read what the run asks for on this instance; empty where it asks for nothing."""
    ledger = store.open(config.load().settings)
    try:
        every = json.loads(ledger.read_contents(run, 0))
    except errors.NotFound:
        return {}
    found: dict[str, Any] = every.get(instance) or {}
    return found if found.get("databases") or found.get("users") else {}


def write(datastore: str, asked: dict[str, Any]) -> str:
    """Write the client's statements, after a last look at the names."""
    databases = list(asked.get("databases", []))
    users = list(asked.get("users", []))
    datastores.check_accounts(datastore, databases, [(user["name"], user["password"]) for user in users])
    return datastores.statements(datastore)(databases, users)
