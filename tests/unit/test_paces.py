"""How fast a run goes: amounts, ramps, canaries, budgets, the hour."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from dbmod import errors, paces
from dbmod.paces import Pace


def sizes(pace: Pace, hosts: int = 100, *, restarts: bool = False) -> tuple[int, ...]:
    return paces.plan(pace, hosts=hosts, restarts=restarts).sizes


@pytest.mark.parametrize(
    ("pace", "expected"),
    [
        (Pace(), (50,)),
        (Pace(batch_size=7), (7,)),
        (Pace(batch_size="7"), (7,)),
        (Pace(batch_size="10%"), (20,)),
        (Pace(batch_size="1,10%, 50%,100%"), (1, 20, 100, 200)),
        (Pace(ramp=True), (1, 2, 4, 8, 16, 32, 50)),
        (Pace(ramp=True, batch_size=8), (1, 2, 4, 8)),
        (Pace(ramp=True, batch_size=1), (1,)),
        (Pace(canary=3, batch_size="25%"), (3, 50)),
        (Pace(canary=1, ramp=True, batch_size=2), (1, 1, 2)),
    ],
)
def test_batch_sizes_are_numbers_percentages_lists_and_ramps(pace: Pace, expected: tuple[int, ...]) -> None:
    assert sizes(pace, 200) == expected


def test_a_percentage_of_few_hosts_is_at_least_one() -> None:
    assert sizes(Pace(batch_size="10%"), 3) == (1,)


def test_a_type_that_restarts_servers_goes_one_by_one_behind_a_canary_unless_told_otherwise() -> None:
    plan = paces.plan(Pace(), hosts=9, restarts=True)
    assert (plan.sizes, plan.pause_after) == ((1, 1), 1)
    assert paces.plan(Pace(), hosts=1, restarts=True).pause_after == 0
    told = paces.plan(Pace(batch_size=3, canary=0), hosts=9, restarts=True)
    assert (told.sizes, told.pause_after) == ((3,), 0)


def test_budgets_are_numbers_or_shares_of_the_hosts_rounded_down() -> None:
    plan = paces.plan(Pace(max_errors="10%", max_unreachable="34%"), hosts=29, restarts=False)
    assert (plan.max_errors, plan.max_unreachable) == (2, 9)
    assert paces.plan(Pace(), hosts=29, restarts=False).max_errors == 0
    assert paces.plan(Pace(on_failure="continue"), hosts=29, restarts=False).max_errors is None
    assert paces.plan(Pace(max_errors=None), hosts=29, restarts=False).max_unreachable is None


@pytest.mark.parametrize(
    ("pace", "said"),
    [
        (Pace(batch_size="x"), "--batch_size takes a number of hosts or a percentage like 10%, not 'x'."),
        (Pace(batch_size="1,,2"), "--batch_size takes a number of hosts or a percentage like 10%, not ''."),
        (Pace(batch_size="0%"), "--batch_size must be at least 1."),
        (Pace(batch_size="101%"), "--batch_size takes at most 100%."),
        (Pace(batch_size="9" * 30), "--batch_size takes a number of hosts"),
        (Pace(max_errors="-1%"), "--max_errors must not be negative."),
        (Pace(max_unreachable="1.5"), "--max_unreachable takes a number of hosts"),
        (Pace(canary=-1), "--canary must not be negative."),
        (Pace(not_after="24:00"), "--not-after takes an hour like 06:00, not '24:00'."),
        (Pace(before_host="/nowhere/tasks.yml"), "--before-host: there is no file /nowhere/tasks.yml."),
    ],
)
def test_what_makes_no_sense_is_refused(pace: Pace, said: str) -> None:
    with pytest.raises(errors.BadInput) as refusal:
        paces.refuse_nonsense(pace)
    assert refusal.value.what.startswith(said)


def test_the_hour_is_the_next_one_on_this_machine_s_clock() -> None:
    zone = ZoneInfo("Europe/Berlin")
    evening, morning = datetime(2026, 11, 26, 22, 15, tzinfo=zone), datetime(2026, 11, 27, 3, 0, tzinfo=zone)
    assert paces.deadline("04:30", now=evening) == datetime(2026, 11, 27, 4, 30, tzinfo=zone)
    assert paces.deadline("4:30", now=morning) == datetime(2026, 11, 27, 4, 30, tzinfo=zone)
    assert paces.deadline("03:00", now=morning) == datetime(2026, 11, 28, 3, 0, tzinfo=zone)
    assert paces.deadline("", now=morning) is None
