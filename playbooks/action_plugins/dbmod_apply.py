"""The door to the host: all modules of this host in one round trip, on standard input.

A host that cannot be reached is an outcome, not an error: it stays in the batch, so that it is recorded.
"""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import doors, host_call

READY = host_call.beforehand()  # Ansible loads this file in its main process


class ActionModule(ActionBase):
    """No arguments: an expression for the run would be compiled in the worker of every host."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        host = doors.plain_host(task_vars, self._templar.template)
        return result | doors.guarded(
            lambda: host_call.carry_out(doors.run_of_play(task_vars), host, host_call.sender(self), ready=READY)
        )
