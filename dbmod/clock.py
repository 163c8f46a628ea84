"""The only door to the time of day."""

from datetime import UTC, datetime


def now() -> datetime:
    """Give the time, UTC, in whole microseconds."""
    return datetime.now(UTC)


def local(moment: datetime) -> str:
    """Write *moment* as a clock of this machine shows it: 2017-06-02 19:06."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def seconds(moment: datetime) -> str:
    """Write *moment* as the registry's tables do: 2017-06-02T17:06:21."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def hundredths(moment: datetime) -> str:
    """Write *moment* as `module-query` does: 2017-06-02 17:23:40.50."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-4]
