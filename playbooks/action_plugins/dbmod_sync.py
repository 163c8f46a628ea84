"""The door to modules as code: makes the registry equal to the file that the play's variables name.

Contents are read here, decrypted with the vault passwords that ansible-playbook was given, and stay in this process.
"""

import functools
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import awx, direct, doors, vault_files


class ActionModule(ActionBase):
    """No arguments: the variables `file`, `prune` and `reason` are users' words, and arguments would be templated."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        given = {**self._task.get_play().get_vars(), **load_extra_vars(self._loader)}
        play = direct.Play(given=given, hosts={}, known={}, check=self._task.check_mode)
        open_vault = functools.partial(vault_files.open_with, self._loader._vault)

        def work() -> dict[str, Any]:
            answer = direct.sync(doors.context(), play, open_vault=open_vault)
            return answer | awx.artifacts("", answer["lines"])

        return result | doors.guarded(work)
