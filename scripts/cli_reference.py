"""Write docs/cli.md: every command's own help. tests/contract/test_cli_reference.py checks that it is current."""

from pathlib import Path

import click

from dbmod import cli

TARGET = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
WIDTH = 100  # of the help's lines, whatever terminal it is made in

HEAD = """# The commands

Made by `make docs` from the commands themselves; do not edit. Options are accepted with underscores and with hyphens.
"""


def commands() -> click.Group:
    """Give the group of all commands, which dbmod.cli holds under whatever name."""
    return next(value for value in vars(cli).values() if isinstance(value, click.Group))


def reference(group: click.Group) -> str:
    """Give the whole page: an index, then one section for each command that is not hidden."""
    parent = click.Context(group, info_name="dbmod", terminal_width=WIDTH)
    sections, index = [_section("dbmod", group, parent)], []
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
        index.append(f"* [`{name}`](#{name}) {command.get_short_help_str(limit=WIDTH)}")
        sections.append(_section(name, command, context))
    return "\n".join([HEAD, *index, "", *sections])


def _section(title: str, command: click.Command, context: click.Context) -> str:
    text = "\n".join(line.rstrip() for line in click.unstyle(command.get_help(context)).splitlines())
    return f"## {title}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(reference(commands()), encoding="utf-8")
