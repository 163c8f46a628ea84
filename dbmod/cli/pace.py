"""The options of a run over many hosts: how fast, and when it stops or pauses."""

import functools
from collections.abc import Callable
from typing import Any

import click

from dbmod import paths
from dbmod.paces import DEFAULT_BATCH_SIZE, DEFAULT_DELAY_SECONDS, DEFAULT_MAX_LAG_SECONDS, Pace

AMOUNT = "N|P%"
OPTIONS = (
    click.option(
        "--batch_size",
        metavar="N|P%|LIST",
        help="Instances at the same time: a number, a percentage, or several as '1,10%,50%'.  "
        f"[default: {DEFAULT_BATCH_SIZE}; 1 where a type restarts the server]",
    ),
    click.option("--ramp", is_flag=True, help="Batches of 1, 2, 4 … before those of --batch_size."),
    click.option(
        "--canary",
        type=click.IntRange(0, 100_000),
        metavar="N",
        help="Instances of a first batch, after which the run pauses: a question on a terminal, `run-resume` elsewhere."
        "  [default: 0; 1 where a type restarts the server]",
    ),
    click.option(
        "--delay",
        "delay_seconds",
        type=float,
        default=DEFAULT_DELAY_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="Time between two batches.",
    ),
    click.option(
        "--max_errors",
        default="0",
        show_default=True,
        metavar=AMOUNT,
        help="Instances that may fail, in the whole run, before no new batch starts.",
    ),
    click.option(
        "--max_unreachable",
        metavar=AMOUNT,
        help="Instances whose hosts may be dead before no new batch starts.  [default: any number]",
    ),
    click.option(
        "--reach-first/--no-reach-first",
        default=None,
        help="Whether all hosts are tried before the first batch, and dead ones left out.  "
        "[default: only with --max_unreachable]",
    ),
    click.option(
        "--replicas-first/--no-replicas-first",
        default=None,
        help="Whether the servers are asked what they are, and replicas served before all others.  "
        "[default: only where a type restarts them]",
    ),
    click.option("--not-after", default="", metavar="HH:MM", help="When no batch starts any more: the run pauses."),
    click.option(
        "--on-failure",
        type=click.Choice(("stop", "continue", "rollback")),
        default="stop",
        show_default=True,
        help="When --max_errors is spent: start no new batch, go on, or put back what each changed instance had.",
    ),
    click.option(
        "--gate/--no-gate",
        default=None,
        help="Whether each server has to be well before and after.  [default: only where a type restarts it]",
    ),
    click.option(
        "--max-lag",
        "max_lag_seconds",
        type=click.IntRange(min=0),
        default=DEFAULT_MAX_LAG_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How far a replica may be behind for --gate.",
    ),
    click.option(
        "--before-host",
        default="",
        metavar="FILE",
        help="Ansible tasks of your own, done on each host before its modules come.",
    ),
    click.option(
        "--after-host", default="", metavar="FILE", help="Tasks done on each host that is well after its modules came."
    ),
)
NAMES = Pace.__struct_fields__


def paced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as `pace`."""

    @functools.wraps(function)
    def with_pace(*args: Any, **kwargs: Any) -> int | None:
        given = {name: kwargs.pop(name) for name in NAMES}
        files = {name: str(paths.named(given[name])) for name in ("before_host", "after_host") if given[name]}
        pace = Pace(**(given | files))
        if files:
            from dbmod import task_files

            task_files.refuse_unusable(pace)
        outcome: int | None = function(*args, pace=pace, **kwargs)
        return outcome

    return functools.reduce(lambda command, option: option(command), reversed(OPTIONS), with_pace)
