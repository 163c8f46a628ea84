"""The door to the host: all modules of this host in one round trip, on standard input.

A host that cannot be reached is an outcome, not an error: it stays in the batch, so that it is recorded.
"""

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import doors, host_call


class ActionModule(ActionBase):
    """Argument: run (an id)."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        run_id = str(doors.plain(self._task.args["run"]))
        return result | doors.guarded(lambda: host_call.carry_out(run_id, doors.plain_host(task_vars), self._send))

    def _send(self, command: str, data: bytes) -> host_call.Reply:
        try:
            reply = self._low_level_execute_command(command, in_data=data)
        except AnsibleConnectionFailure as error:
            return host_call.Reply(output="", trouble=str(error.message))
        except AnsibleError as error:
            return host_call.Reply(output="", trouble=type(error).__name__)
        return host_call.Reply(output=reply["stdout"], trouble=host_call.trouble_of(reply["rc"], reply["stderr"]))
