"""dbmod_reach: see that a host can be logged in to, as the tasks that follow will; a failure names its cause.

An unreachable host would leave the play without a word about why; one that fails here is recorded with the reason.
"""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import doors, host_call, ssh_trouble


class ActionModule(ActionBase):
    """No arguments."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        reply = host_call.sender(self)("true", b"")
        if not reply.trouble:
            return result | {"changed": False}
        name = str(doors.plain(task_vars["inventory_hostname"]))
        return result | {"failed": True, "unreached": True, "msg": ssh_trouble.explain(reply.trouble, name=name)}
