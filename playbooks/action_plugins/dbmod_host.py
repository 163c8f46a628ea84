"""dbmod_host: let Ansible know a host of a run that its inventory does not: an instance that is yet to be made.

Only checked values become variables, the very ones that the inventory of the command would hold.
"""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import doors, run_directory


class ActionModule(ActionBase):
    """Arguments: run (an id), name (of the host)."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = doors.plain(self._task.args)

        def work() -> dict[str, Any]:
            known = run_directory.variables_of(doors.context(), arguments["run"], arguments["name"])
            # As Ansible's own add_host answers, which takes its variables from templates.
            return {"changed": True, "add_host": {"host_name": arguments["name"], "groups": [], "host_vars": known}}

        return result | doors.guarded(work)
