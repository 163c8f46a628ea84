# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a PostgreSQL is well. Runs on its host: see dbmod/hostside/dbmod_health.py."""

import struct
import time
from typing import Any, Optional

from ansible.module_utils import dbmod_health as health
from ansible.module_utils import dbmod_kit as kit
from ansible.module_utils import dbmod_postgresql as postgresql

HELLO = struct.pack("!II", 8, 80877103)  # SSLRequest: answered by a byte, and in no log
# Behind is what was received and is not replayed, by the age of the last transaction that was.
STANDING = """SELECT pg_is_in_recovery(), (SELECT status FROM pg_stat_wal_receiver),
CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END,
CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp())::int END,
pg_last_wal_receive_lsn();
"""
LATER_SECONDS = 1


def connect(host: kit.Host) -> Any:
    return postgresql.connect(host, "")


def standing(link: Any, host: kit.Host, max_lag_seconds: Optional[int]) -> Optional[health.Standing]:
    ended = link.ask(STANDING)
    if ended.code != 0:
        return None
    standby, receiver, paused, lag, received = ended.output.rstrip("\n").split("\t")
    faults = []
    if standby == "t" and max_lag_seconds is not None:
        faults += [] if receiver == "streaming" else ["it receives no stream"]
        faults += ["its replay is paused"] if paused == "t" else []
        if int(lag or 0) > max_lag_seconds and not replays(link, received, max_lag_seconds):
            faults.append("%s s behind, and max_lag is %d" % (lag, max_lag_seconds))
    return health.Standing(faults, is_replica=standby == "t")


def replays(link: Any, received: str, max_lag_seconds: int) -> bool:
    """Tell whether a standby replays in time all the same: in the middle of one long transaction it looks behind."""
    time.sleep(min(LATER_SECONDS, max_lag_seconds))
    return bool(link.answer("SELECT pg_last_wal_replay_lsn() >= '%s';" % received) == "t")
