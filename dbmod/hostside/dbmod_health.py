# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a server is well, asked on its host: at once, or until it is.

A datastore says how in roles/datastore_<name>/health.py, which names this part of the kit `health`:

connect(host)    gives a link to the server, or None where nothing answers; raises kit.Refused, kit.Busy
standing(link, host, max_lag_seconds)
                 gives a Standing; None where the server tells nothing
HELLO            bytes to which a server of its kind reacts, whoever sends them; empty where it speaks first
"""

import contextlib
import socket
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from . import dbmod_child as child
from . import dbmod_kit as kit
from . import dbmod_work as work

SILENT_SECONDS = 20  # one that hangs accepts connections all the same
POLL_SECONDS = 0.5
AWAY = "it does not answer"

Answer = Dict[str, Any]


class Standing(NamedTuple):
    """How a server is: what is not well, in words; and whether it copies from another one."""

    faults: List[str]
    is_replica: bool = False


def look(request: work.Request, datastore: Dict[str, Any]) -> Answer:
    """Ask until the server is well or *wait_seconds* are over; one that hangs is given up at once.

    request    with wait_seconds, and max_lag_seconds: None where its copying and its cluster are not asked for
    datastore  the names in its health.py
    Returns    the fields of a Standing
    """
    deadline = time.monotonic() + request["wait_seconds"]
    host = work.host_of(request)
    is_own = bool(request["facts"].get("directory"))
    while True:
        ended = child.run(_guarded(lambda: _asked(host, datastore, is_own, request["max_lag_seconds"])), SILENT_SECONDS)
        if ended.answer is None:
            hangs = "timed out" in ended.problem
            return Standing(["no answer in %d seconds" % SILENT_SECONDS if hangs else ended.problem])._asdict()
        if not ended.answer["faults"] or time.monotonic() >= deadline:
            return ended.answer
        time.sleep(POLL_SECONDS)


def _guarded(ask: Callable[[], Standing]) -> Callable[[], Answer]:
    def guarded() -> Answer:
        try:
            return ask()._asdict()
        except kit.Refused as refusal:
            fault = str(refusal)
        except BaseException as error:
            fault = "%s in dbmod's look at it" % type(error).__name__
        return Standing([kit.one_line(fault)])._asdict()

    return guarded


def _asked(host: kit.Host, datastore: Dict[str, Any], is_own: bool, max_lag_seconds: Optional[int]) -> Standing:
    """Ask once. An adopted server need not let us in: then it is well where it speaks."""
    link = None
    try:
        link = datastore["connect"](host)
    except kit.Busy:
        raise
    except kit.Refused:
        if is_own:
            raise
    if link is not None:
        with contextlib.closing(link):
            standing: Optional[Standing] = datastore["standing"](link, host, max_lag_seconds)
        if standing is not None:
            return standing
    speaks = _speaks(host, datastore["HELLO"])  # of our own it is asked too: one that hangs never comes back from it
    return Standing([] if speaks and not is_own else [AWAY])


def _speaks(host: kit.Host, hello: bytes) -> bool:
    """Tell whether something listens that reacts, if only by closing the connection."""
    try:
        with contextlib.closing(socket.create_connection((host.address or "127.0.0.1", host.port))) as connection:
            connection.sendall(hello)
            connection.recv(1)
    except ConnectionResetError:
        return True
    except OSError:
        return False
    return True
