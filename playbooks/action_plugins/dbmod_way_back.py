"""The door behind a rollout: plans the run that puts back what it changed, where too much failed."""

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
        return result | doors.guarded(lambda: doors.way_back(doors.context(), run_id))
