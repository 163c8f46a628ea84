"""dbmod_cloud: what is done in an OpenStack cloud from the controller. A thin door to dbmod/cloud_machines.py.

state    shared: keypair, security group and server group are there; gives their names and ids
         floating_address: the port `port` is reached from outside; gives `address`
         host_keys: wait for the server's host keys and let ssh know them; gives `host_keys`
         undone: as removed, and no failure; gives `fault`, the cloud's words, and `left`, what is not removed
         removed: what the instance has in the cloud is gone
         shared_removed: what instances shared is gone where none is left
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import cloud_tasks, doors


class ActionModule(ActionBase):
    """See the module's docstring."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            return result | {"changed": True}
        arguments = doors.plain(self._task.args)
        return result | doors.guarded(lambda: cloud_tasks.carry_out(doors.context(), arguments))
