"""The door to planning: writes a run's plan into the ledger, or takes over the one that `dbmod` wrote."""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import awx, direct, doors


class ActionModule(ActionBase):
    """Arguments: run (an id, or empty), playbook (its name). Without a run the play's variables are planned."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = doors.plain(self._task.args)
        # Not the variables of a host: an inventory may have a `cluster` or `force` of its own.
        given = {**self._task.get_play().get_vars(), **load_extra_vars(self._loader)}

        def work() -> dict[str, Any]:
            awx.refuse_slice(given)
            here = doors.context()
            if arguments.get("run"):
                return direct.take_over(here, arguments["run"], check=self._task.check_mode)
            known = task_vars["hostvars"]
            play = direct.Play(
                given=given,
                hosts=direct.hosts_of_play(known, task_vars["ansible_play_hosts_all"]),
                known=known,
                groups={str(name): [str(one) for one in hosts] for name, hosts in task_vars["groups"].items()},
                names=frozenset(str(name) for name in task_vars["ansible_play_hosts_all"]),
                sources=[str(one) for one in task_vars.get("ansible_inventory_sources") or ()],
                limit=str(task_vars.get("ansible_limit") or ""),
                check=self._task.check_mode,
            )
            answer = direct.begin(here, arguments["playbook"], play)
            return answer | awx.artifacts(answer["plan"]["run"], answer["told"])

        return result | doors.guarded(work)
