"""The door to a host that is to be adopted: looks at it in one round trip, and changes nothing there.

A host that cannot be reached is an outcome, not an error: it stays in the play, so that it is recorded.
"""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import doors, host_call, survey_call


class ActionModule(ActionBase):
    """Argument: run (an id)."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        run_id = str(doors.plain(self._task.args["run"]))
        host = doors.plain_host(task_vars, self._templar.template)

        def template(name: str) -> Any:
            return doors.plain(self._templar.template(task_vars[name])) if name in task_vars else None

        return result | survey_call.carry_out(run_id, host, host_call.sender(self), template)
