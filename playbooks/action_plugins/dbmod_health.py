"""dbmod_health: ask a server how it is, at once or until it is well. One round trip; nothing is changed on the host."""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import doors, health_call, host_call


class ActionModule(ActionBase):
    """Arguments: wait_seconds (until it is well, else fail; without it nothing fails), max_lag_seconds (for a replica;
    without it no lag matters, nor whether its cluster is whole).
    """

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = {name: int(value) for name, value in doors.plain(self._task.args).items()}
        if self._task.check_mode and "wait_seconds" in arguments:
            return result | {"skipped": True}  # nothing was done that it could wait for
        host = doors.plain_host(task_vars, self._templar.template)
        run, name = doors.run_of_play(task_vars), str(doors.plain(task_vars["inventory_hostname"]))
        return result | doors.guarded(
            lambda: health_call.carry_out(run, host, host_call.sender(self), name=name, **arguments)
        )
