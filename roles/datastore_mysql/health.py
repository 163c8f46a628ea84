# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a MariaDB or MySQL is well. Runs on its host: see dbmod/hostside/dbmod_health.py."""

import re
from typing import Any, Dict, List, Optional

from ansible.module_utils import dbmod_health as health
from ansible.module_utils import dbmod_kit as kit
from ansible.module_utils import dbmod_mysql as mysql

HELLO = b""  # the server speaks first
# The first comment is read by MariaDB, where a server may have several sources, the second by MySQL.
SOURCES = "SHOW /*M! ALL REPLICAS */ /*!80022 REPLICA */ STATUS;\n"
STEP = ("wsrep_cluster_status", "wsrep_local_state_comment", "wsrep_ready")
IN_STEP = ["Primary", "Synced", "ON"]
THREAD = re.compile(r"(?:Slave|Replica)_(IO|SQL)_Running\Z")
LAG = re.compile(r"Seconds_Behind_(?:Master|Source)\Z")


def connect(host: kit.Host) -> Any:
    return mysql.connect(host, "")


def standing(link: Any, host: kit.Host, max_lag_seconds: Optional[int]) -> health.Standing:
    sources = rows(link.ask(SOURCES, "--column-names").output)
    faults = step_faults(link)
    if max_lag_seconds is not None:
        faults += [fault for source in sources for fault in copy_faults(source, max_lag_seconds)]
    return health.Standing(faults, is_replica=bool(sources))


def rows(output: str) -> List[Dict[str, str]]:
    """Read a result with the names of its columns; none where a user who may not see it asked."""
    lines = [line.split("\t") for line in output.split("\n") if "\t" in line]
    return [dict(zip(lines[0], line)) for line in lines[1:]]


def copy_faults(source: Dict[str, str], max_lag_seconds: int) -> List[str]:
    """Tell what is wrong with the copying from one source, from what the server says of it."""
    threads = [(THREAD.match(name), value) for name, value in source.items()]
    faults = ["%s thread running: %s" % (found.group(1), value) for found, value in threads if found and value != "Yes"]
    lags = [int(value) for name, value in source.items() if LAG.match(name) and value.isdigit()]
    late = [lag for lag in lags if lag > max_lag_seconds]
    return faults + ["%d s behind, and max_lag is %d" % (lag, max_lag_seconds) for lag in late]


def step_faults(link: Any) -> List[str]:
    """Tell of a member of a Galera cluster whether it has what the others have; one that is still alone is well."""
    known = link.values(["wsrep_on", "wsrep_cluster_address"])
    if known.get("wsrep_on", "OFF") == "OFF" or not known.get("wsrep_cluster_address"):
        return []
    names = ", ".join("'%s'" % name for name in STEP)
    said = rows(link.ask("SHOW GLOBAL STATUS WHERE variable_name IN (%s);\n" % names, "--column-names").output)
    values = {row["Variable_name"].lower(): row["Value"] for row in said}
    step = [values.get(name, "?") for name in STEP]
    return [] if step == IN_STEP else ["it is not in step with its cluster: %s" % ", ".join(step)]
