"""Whatever is typed: a documented exit code, no traceback, nothing on the terminal that moves its cursor."""

import random
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from dbmod import cli
from dbmod.cli import group

CODES = {0, 1, 2, 3, 4, 5, 130}
TRIALS, SEED = 1000, 20170602
# On an empty ledger these alone could start something, or wait for ever.
WORKS = {"create", "cluster-create", "demo", "run-execute", "audit-log"}
ODD = (
    "",
    "-",
    "--",
    "-1",
    "0",
    "99999999999999999999",
    "x" * 300,
    "../../etc/passwd",
    "a\nb",
    "\x1b[2J",
    "\u202egpj",
    "\udc80",
    "{{ 7 * 7 }}",
    "[bold]",
    "*",
    "!",
    "a=b,c",
    "flavor=15",
    "all",
    "/dev/zero",
    "/",
    "contents.dat",
    "mymod",
    "None",
)


def typed(chance: random.Random) -> list[str]:
    """Make up a command line out of real commands, real options and odd words."""
    names = sorted(set(group.MODULES) - WORKS | set(group.ALIASES))
    name = chance.choice([*names, "nonsense"])
    command = cli.commands.get_command(click.Context(cli.commands), name)
    options = [option for one in command.params for option in one.opts + one.secondary_opts] if command else []
    words = [chance.choice([*options, *ODD, *ODD]) for _ in range(chance.randrange(6))]
    return [*chance.choices([[], ["--debug"]], [20, 1])[0], name, *words]


def test_no_arguments_give_a_traceback(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    figure: Callable[[str, str], None],
) -> None:
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("contents.dat").write_text("message=hello\n")
    cli.execute(["module-create", "mymod", "ping", "contents.dat"])
    capsys.readouterr()
    chance = random.Random(SEED)
    bad = []
    for _ in range(TRIALS):
        words = typed(chance)
        code = cli.execute(words)
        told = "".join(capsys.readouterr())
        is_clean = "Traceback" not in told or "--debug" in words
        if code not in CODES - {5} or not is_clean or set(told) & set("\x1b\u202e\r"):
            bad.append((words, code, told[:300]))
    assert bad == []
    figure("R14", f"arguments: 0 tracebacks, 0 internal errors, only documented exit codes in {TRIALS} (seed {SEED})")
