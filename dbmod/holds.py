"""Instances that somebody wants left alone for a while: runs that change hosts skip them."""

import re
from datetime import datetime, timedelta

import msgspec

from dbmod import clock, errors, history, lookup
from dbmod.context import Context
from dbmod.records import Hold, Instance

SPAN = re.compile(r"(\d{1,5})([mhd])\Z")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def hold(context: Context, reference: str, *, until: str) -> Instance:
    """Put an instance on hold, with the context's reason.

    until   as read by `moment`; "": until it is taken back
    Raises  BadInput without a reason: who comes next has to know why
    """
    if not context.reason.strip():
        raise errors.BadInput("A hold needs a reason.", next_step="--reason 'backup of the whole cluster'")
    end = moment(until, now=clock.now().astimezone()) if until else None
    return _put(context, reference, "hold", end, is_held=True)


def release(context: Context, reference: str) -> Instance:
    """Take a hold back. An instance without one stays as it is."""
    return _put(context, reference, "unhold", None, is_held=False)


def why(instance: Instance, *, now: datetime) -> str:
    """Say why an instance is left alone; "" where it is not, or not any longer."""
    held = instance.hold
    if held is None or (held.until is not None and held.until <= now):
        return ""
    until = f" until {clock.local(held.until)}" if held.until else ""
    return f"on hold{until}, by {held.by}: {held.reason}"


def refuse_held(instance: Instance, *, now: datetime) -> None:
    """Refuse to do something to an instance that is to be left alone."""
    if held := why(instance, now=now):
        raise errors.Refused(
            f"Instance '{instance.name}' is {held}", next_step=f"dbmod unhold {instance.name}, if that is over"
        )


def moment(text: str, *, now: datetime) -> datetime:
    """Read `90m`, `12h`, `3d`, or a date with or without a time, of this machine's clock.

    now     with this machine's time zone
    Raises  BadInput, also for what is past
    """
    span = SPAN.match(text.strip())
    try:
        found = now + timedelta(**{UNITS[span[2]]: int(span[1])}) if span else _date(text.strip(), now)
    except (ValueError, OverflowError):
        raise errors.BadInput(
            f"--until takes 90m, 12h, 3d, 2026-12-24 or 2026-12-24T06:00, not {text[:100]!r}."
        ) from None
    if found <= now:
        raise errors.BadInput(f"--until {text}: that is past.")
    return found


def _date(text: str, now: datetime) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=now.tzinfo)


def _put(context: Context, reference: str, verb: str, until: datetime | None, *, is_held: bool) -> Instance:
    now = clock.now()
    with context.transaction(verb) as tables:
        instance = lookup.instance(tables, reference, actor=context.actor)
        given = Hold(reason=context.reason, by=context.actor.name, since=now, until=until) if is_held else None
        held = msgspec.structs.replace(instance, hold=given, updated_at=now)
        tables.put(held)
        history.note(
            tables,
            verb,
            actor=context.actor.name,
            reason=context.reason,
            subject=instance.name,
            instance_ids=[instance.id],
        )
    return held
