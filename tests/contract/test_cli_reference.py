"""docs/cli.md is what the commands say of themselves."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "cli_reference.py"


def test_cli_reference_is_current() -> None:
    made = runpy.run_path(str(SCRIPT))
    assert made["TARGET"].read_text(encoding="utf-8") == made["reference"](made["commands"]()), "run `make docs`"


def test_every_command_and_option_has_help() -> None:
    made = runpy.run_path(str(SCRIPT))
    group = made["commands"]()
    bare = []
    for name in group.list_commands(made["click"].Context(group)):
        command = group.get_command(made["click"].Context(group), name)
        if command.hidden:
            continue
        bare += [name] if not command.help else []
        bare += [
            f"{name} {parameter.opts[0]}"
            for parameter in command.params
            if parameter.param_type_name == "option" and not parameter.hidden and not parameter.help
        ]
    assert bare == []
