# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a Redis or Valkey is well. Runs on its host: see dbmod/hostside/dbmod_health.py."""

import re
from typing import Any, Dict, List, Optional

from ansible.module_utils import dbmod_dropin as dropin
from ansible.module_utils import dbmod_health as health
from ansible.module_utils import dbmod_kit as kit
from ansible.module_utils import dbmod_redis as redis

HELLO = b"PING\r\n"


def connect(host: kit.Host) -> Any:
    return redis.connect(host, dropin.main_of(redis, host))


def standing(link: Any, host: kit.Host, max_lag_seconds: Optional[int]) -> Optional[health.Standing]:
    told = link.ask("INFO", "replication")
    if isinstance(told, redis.Error):
        return None
    known = dict(re.findall(r"^(\w+):(.*?)\r?$", told, re.MULTILINE))
    faults = [] if max_lag_seconds is None else copy_faults(known, max_lag_seconds) + cluster_faults(link)
    return health.Standing(faults, is_replica=known["role"] == "slave")


def copy_faults(known: Dict[str, str], max_lag_seconds: int) -> List[str]:
    """Tell of a replica what is wrong, from its INFO."""
    if known["role"] != "slave":
        return []
    silent_seconds = int(known.get("master_last_io_seconds_ago", -1))  # -1: it is not connected
    faults = [] if known.get("master_link_status") == "up" else ["it is not connected to its master"]
    if silent_seconds > max_lag_seconds:
        faults.append("%d s without a word of its master, and max_lag is %d" % (silent_seconds, max_lag_seconds))
    return faults


def cluster_faults(link: Any) -> List[str]:
    said = link.ask("CLUSTER", "INFO")
    is_member = not isinstance(said, redis.Error) and "cluster_state:" in said
    return ["it sees no whole cluster"] if is_member and "cluster_state:ok" not in said else []
