"""The door to the ledger: closes a batch, or the claims on instances, in one transaction; keeps what was made."""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import doors


class ActionModule(ActionBase):
    """Arguments: run (an id), subject (modules, instances, adopted, facts, reached), status (ACTIVE, DELETED; of
    instances), facts (of this host's instance, known now and not only at the end).
    """

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = doors.plain(self._task.args)
        run_id = arguments.get("run") or str(task_vars["hostvars"]["localhost"]["plan"]["run"])

        def work() -> dict[str, Any]:
            here = doors.context()
            if arguments.get("subject") == "facts":
                return doors.record_facts(here, run_id, str(task_vars["dbmod_id"]), arguments["facts"])
            hosts = {str(host): task_vars["hostvars"][host] for host in task_vars["ansible_play_hosts_all"]}
            if arguments.get("subject", "modules") == "modules":
                outcomes = {host: doors.module_report(known, host, run_id) for host, known in hosts.items()}
                return doors.record_modules(here, run_id, outcomes)
            if arguments["subject"] == "reached":
                return doors.look(here, run_id, {host: doors.look_report(known, host) for host, known in hosts.items()})
            if arguments["subject"] == "adopted":
                found = {host: known.get("__instance_adopt_survey") for host, known in hosts.items()}
                return doors.record_adopted(here, run_id, found)
            reached = set(task_vars["ansible_play_hosts"])
            told = {host: doors.instance_report(known, reached=host in reached) for host, known in hosts.items()}
            return doors.record_instances(here, run_id, status=arguments["status"], hosts=told)

        return result | doors.guarded(work)
