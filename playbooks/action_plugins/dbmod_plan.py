"""The door to planning: writes a run's plan into the ledger, or takes over the one that `dbmod` wrote."""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import direct, doors


class ActionModule(ActionBase):
    """Arguments: run (an id, or empty), verb. Without a run the plan is made from the play's variables."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = doors.plain(self._task.args)

        def work() -> dict[str, Any]:
            here = doors.context()
            run_id = arguments.get("run") or direct.plan(here, arguments["verb"], task_vars)
            return doors.start(here, run_id) if run_id else doors.nothing()

        return result | doors.guarded(work)
