"""The door before the first batch: records the hosts that are dead, and gives the plan of what is left."""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import doors


class ActionModule(ActionBase):
    """Argument: run (an id)."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        run_id = str(doors.plain(self._task.args["run"]))
        known = {str(host): task_vars["hostvars"][host] for host in task_vars["ansible_play_hosts_all"]}
        found = {host: doors.look_report(variables, host) for host, variables in known.items()}
        return result | doors.guarded(lambda: doors.look(doors.context(), run_id, found))
