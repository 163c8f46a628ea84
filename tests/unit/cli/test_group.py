"""Which commands there are, and how they may be spelled."""

import click
import pytest

from dbmod import cli
from dbmod.cli import group

CONTEXT = click.Context(cli.commands)
NAMES = sorted(group.MODULES)


@pytest.mark.parametrize("name", NAMES)
def test_every_listed_command_is_there_under_both_spellings(name: str) -> None:
    found = cli.commands.get_command(CONTEXT, name)
    assert found is not None
    assert found.name == name
    assert cli.commands.get_command(CONTEXT, name.replace("-", "_")) is found


def test_rollout_is_module_reapply() -> None:
    found = cli.commands.get_command(CONTEXT, "rollout")
    assert found is not None
    assert found.name == "module-reapply"


def test_hidden_commands_are_not_listed() -> None:
    assert set(NAMES) - set(cli.commands.list_commands(CONTEXT)) == {"run-execute"}


@pytest.mark.parametrize("name", cli.commands.list_commands(CONTEXT))
def test_help_has_a_sentence_an_example_and_a_text_for_every_option(name: str) -> None:
    command = cli.commands.get_command(CONTEXT, name)
    assert command is not None
    assert command.help
    assert f"dbmod {name}" in (command.epilog or "")
    options = [one for one in command.get_params(CONTEXT) if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []
    assert "debug" in [one.name for one in options]
