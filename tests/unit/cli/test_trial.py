"""What `--check` shows of contents."""

from collections.abc import Callable

import pytest

from dbmod import registry
from dbmod.cli import trial
from dbmod.cli.carry import Outcome
from dbmod.context import Context
from dbmod.records import Attempt
from tests import builders
from tests.builders import REPLACE

Put = Callable[..., None]


def test_a_version_that_the_registry_lost_hides_no_other_difference(
    here: Context, put: Put, capsys: pytest.CaptureFixture[str]
) -> None:
    made = registry.create(here, registry.Request(name="mymod", type="ping", live_update=True), builders.contents(1))
    module = registry.change(here, made.id, registry.Change(), builders.contents(2))
    run = builders.run()
    hosts = [builders.instance(f"db-{number}") for number in (1, 2)]
    attempts: list[Attempt] = [
        REPLACE(builders.attempt(run, module, one, 2), from_number=number)
        for one, number in zip(hosts, (9, 1), strict=True)
    ]
    outcome = Outcome(
        run=run,
        attempts=tuple(attempts),
        instances={one.id: one.name for one in hosts},
        modules={module.id: module},
    )
    trial._show_differences(here, outcome)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "mymod: Module 'mymod' has no version '9'."
    assert shown[-2:] == ["-message=Module.V1", "+message=Module.V2"]
