"""The door before each batch: waits the delay, and tells whether the batch may start."""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import doors


class ActionModule(ActionBase):
    """Argument: run (an id)."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        run_id = str(doors.plain(self._task.args["run"]))
        hosts = doors.plain(task_vars["ansible_play_batch"])
        instance_ids = [str(task_vars["hostvars"][host]["dbmod_id"]) for host in hosts]
        return result | doors.guarded(lambda: doors.gate(doors.context(), run_id, hosts, instance_ids))
