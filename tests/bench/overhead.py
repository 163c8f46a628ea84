"""What dbmod adds to Ansible: module-reapply over 50 local instances against its own playbook with recording off.

Aim: at most 1.15 times.    make bench    or    python tests/bench/overhead.py

The instances have their directories and no server: ping asks no server, and 50 idle ones would only add noise.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from dbmod import connections, inventory, ledger, operations, paths, registry
from dbmod.context import Context
from dbmod.paces import Pace
from dbmod.records import Instance
from tests.bench import _fleet, _measure

HOSTS, PAIRS, AIM = 50, 9, 1.15


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory, "home")
        here = _fleet.context(home)
        registry.create(
            here,
            registry.Request(name="bench", type="ping", live_update=True),
            b"message=bench\n",
        )
        _fleet.add_hosts(here, Path(directory), HOSTS)
        _measure.dbmod("module-apply", "bench", "--all", "--module", "bench", "-q", home=str(home))()
        reapply = _measure.dbmod("module-reapply", "bench", "--force", "-q", home=str(home))
        _measure.headline(f"Overhead: recording and the command around it, {HOSTS} hosts in one batch, {PAIRS} pairs")
        figures = _measure.paired(_playbook_alone(here, home, Path(directory)), reapply, pairs=PAIRS)
        _measure.report("module-reapply --force", *figures, aim=AIM)


def _playbook_alone(here: Context, home: Path, directory: Path) -> Callable[[], None]:
    """Give a function that runs the playbook by ansible-playbook, recording off. Its plan is made and undone here."""
    instances = here.store.snapshot().find(Instance)
    hosts = inventory.build(
        instances,
        host_names=inventory.host_names(instances),
        connections=connections.variables(instances, here.settings, known_hosts_file=directory / "known_hosts"),
    )
    file = directory / "hosts.json"
    file.write_text(json.dumps(hosts))
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {"DBMOD_HOME": str(home), "ANSIBLE_CONFIG": str(paths.content() / "ansible.cfg")}

    def run() -> None:
        planned = operations.plan_reapply(here, "bench", force=True, pace=Pace())
        assert planned.run is not None
        words = [program, "-i", file, paths.playbook("module_reapply"), "-e", f"dbmod_run={planned.run.id}"]
        _measure.command([*map(str, words), "-e", "batch_record=false"], environment)()
        with here.store.transaction(holder="bench") as tables:
            ledger.close(tables, planned.run.id)

    return run


if __name__ == "__main__":
    main()
