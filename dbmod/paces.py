"""How fast a run goes over its hosts, and what stops it: batches, canary, budgets, the hour. Pure."""

import math
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from dbmod import errors, paths

DEFAULT_BATCH_SIZE = 50
DEFAULT_DELAY_SECONDS = 2.0
DEFAULT_MAX_LAG_SECONDS = 30
AMOUNT = re.compile(r"(-?\d{1,9})(%?)\Z")
HOUR = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\Z")

OnFailure = Literal["stop", "continue", "rollback"]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast, and when to stop, as it was asked for. An amount is `N` hosts or `P%` of the run's.

    batch_size       an amount, or several by comma, the last of which goes on; None: 50, or 1 where a type restarts
    ramp             1, 2, 4 … before batch_size
    canary           hosts of a first batch, after which the run pauses; None: 1 where a type restarts, else none
    max_errors       amount of hosts that may fail before no new batch starts; None: no limit
    max_unreachable  amount of hosts that may turn out dead; None: no limit
    reach_first      whether all hosts are tried before the first batch; None: with max_unreachable
    replicas_first   whether servers are asked, and replicas go before all others; None: where a type restarts them
    not_after        HH:MM of this machine's time, at which no batch starts any more; "": any time
    gate             whether each server has to be well before and after; None: where a type restarts it
    max_lag_seconds  how far a replica may be behind to be well
    before_host      file of the user's tasks, done on each host before its modules come; after_host: when it is well
    """

    batch_size: str | int | None = None
    ramp: bool = False
    canary: int | None = None
    delay_seconds: float = DEFAULT_DELAY_SECONDS
    max_errors: str | int | None = 0
    max_unreachable: str | int | None = None
    reach_first: bool | None = None
    replicas_first: bool | None = None
    not_after: str = ""
    on_failure: OnFailure = "stop"
    gate: bool | None = None
    max_lag_seconds: int = DEFAULT_MAX_LAG_SECONDS
    before_host: str = ""
    after_host: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A pace for a certain number of hosts."""

    sizes: tuple[int, ...]  # of the batches, the last for all that follow
    pause_after: int  # the batch after which the run pauses; 0: none
    max_errors: int | None
    max_unreachable: int | None


def refuse_nonsense(pace: Pace) -> None:
    """Refuse what no number of hosts makes sense of. Raises BadInput."""
    plan(pace, hosts=100)
    if pace.delay_seconds < 0:
        raise errors.BadInput("--delay must not be negative.")
    if not math.isfinite(pace.delay_seconds):  # JSON knows neither nan nor inf
        raise errors.BadInput("--delay must be a number of seconds.")
    if pace.max_lag_seconds < 0:
        raise errors.BadInput("--max-lag must not be negative.")
    for option, file in (("--before-host", pace.before_host), ("--after-host", pace.after_host)):
        if file and not paths.is_readable_file(Path(file)):
            what = "cannot read" if paths.is_there(Path(file)) else "there is no file"
            raise errors.BadInput(f"{option}: {what} {file}.")
    if pace.not_after and not HOUR.match(pace.not_after):
        raise errors.BadInput(f"--not-after takes an hour like 06:00, not {pace.not_after!r}.")


def settled(pace: Pace, *, restarts: bool, default: int = DEFAULT_BATCH_SIZE) -> Pace:
    """Decide what was left open; what is decided stays, so it may be done once more.

    Looking at a server costs as much as a module, so that is done unasked only where a type restarts it. Trying all
    hosts beforehand costs a second login to each, so that is done unasked only where somebody counts the dead.

    restarts  a type of the run restarts the server: one host at a time, and a canary, unless asked otherwise
    default   batch size where none was asked for and no type restarts
    """
    return msgspec.structs.replace(
        pace,
        batch_size=(1 if restarts else default) if pace.batch_size is None else pace.batch_size,
        canary=int(restarts) if pace.canary is None else pace.canary,
        gate=restarts if pace.gate is None else pace.gate,
        reach_first=pace.max_unreachable is not None if pace.reach_first is None else pace.reach_first,
        replicas_first=restarts if pace.replicas_first is None else pace.replicas_first,
    )


def plan(pace: Pace, *, hosts: int, restarts: bool = False) -> Plan:
    """Turn amounts into numbers of hosts.

    restarts  of a pace that is not `settled` yet
    """
    pace = settled(pace, restarts=restarts)
    sizes = [max(1, _amount(one, "--batch_size", of=hosts, least=1)) for one in str(pace.batch_size).split(",")]
    if pace.ramp:
        sizes = [*_powers_below(sizes[0]), *sizes]
    canary = pace.canary or 0
    if canary < 0:
        raise errors.BadInput("--canary must not be negative.")
    canary = canary if hosts > 1 else 0
    is_endless = pace.on_failure == "continue"
    return Plan(
        sizes=(canary, *sizes) if canary else tuple(sizes),
        pause_after=1 if canary else 0,
        max_errors=None if is_endless else _budget(pace.max_errors, "--max_errors", of=hosts),
        max_unreachable=_budget(pace.max_unreachable, "--max_unreachable", of=hosts),
    )


def deadline(not_after: str, *, now: datetime) -> datetime | None:
    """Give the next moment at which the clock of this machine shows that hour; None for any time.

    now  with this machine's time zone
    """
    if not not_after:
        return None
    hour, minute = map(int, not_after.split(":"))
    found = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return found if found > now else found + timedelta(days=1)


def _powers_below(size: int) -> list[int]:
    return [2**power for power in range(size.bit_length()) if 2**power < size]


def _budget(text: str | int | None, option: str, *, of: int) -> int | None:
    return None if text is None else _amount(str(text), option, of=of, least=0)


def _amount(text: str, option: str, *, of: int, least: int) -> int:
    """Read `N` or `P%`; a percentage is rounded down."""
    found = AMOUNT.match(text.strip())
    if found is None:
        raise errors.BadInput(f"{option} takes a number of hosts or a percentage like 10%, not {text[:100]!r}.")
    number = int(found[1])
    if number < least:
        raise errors.BadInput(f"{option} must {f'be at least {least}' if least else 'not be negative'}.")
    if found[2] and number > 100:
        raise errors.BadInput(f"{option} takes at most 100%.")
    return number * of // 100 if found[2] else number
