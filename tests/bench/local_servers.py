"""How long a local server takes to make and to restart, and what it holds when idle.

python -m tests.bench.local_servers
"""

import time
from pathlib import Path

from dbmod import datastores, fleet
from tests import local_fleet


def main() -> None:
    for datastore in datastores.names():
        with local_fleet.opened() as servers:
            begun = time.monotonic()
            instance = servers.create("measured", datastore)
            made = time.monotonic()
            servers.carry_out(fleet.plan_restart(servers.context, "measured"))
            restarted = time.monotonic()
            [pid] = local_fleet.pids(instance)
            resident = int(Path("/proc", str(pid), "status").read_text().split("VmRSS:")[1].split()[0])
            print(
                f"{datastore:<8} {instance.datastore_version:<10} create {made - begun:4.1f} s   "
                f"restart {restarted - made:4.1f} s   resident {resident / 1024:4.0f} MiB"
            )


if __name__ == "__main__":
    main()
