"""How a run goes on, on standard error: a bar and a line per host on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dbmod.cli import layout, output
from dbmod.records import ASKING, Attempt, Run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from dbmod import runner

COLOURS = {
    **dict.fromkeys(("ok", "skipped", "would change", "would stay"), "green"),
    **dict.fromkeys(("error", "would fail"), "red"),
    **dict.fromkeys(("unreachable", "unknown"), "yellow"),
}


def make(*, quiet: bool, plain: bool = False) -> "runner.Progress":
    """Choose how to show a run.

    quiet  only notes
    plain  lines even on a terminal: where Ansible writes there too
    """
    if quiet:
        return Quiet()
    return Plain() if plain or not output.is_terminal(sys.stderr) else Live()


class Quiet:
    """Shows nothing but notes."""

    def start(self, run: Run, hosts: Mapping[str, str], attempts: Sequence[Attempt]) -> None:
        pass

    def batch(self, number: int, of: int, hosts: Sequence[str]) -> None:
        pass

    def host(self, name: str, state: str, message: str) -> None:
        pass

    def step(self, name: str, task: str, *, done: bool) -> None:
        pass

    def note(self, text: str) -> None:
        output.note(text)

    def stop(self) -> None:
        pass


class Plain(Quiet):
    """A line for each thing that happens: for logs and pipes."""

    def __init__(self) -> None:
        self.place = ""
        self.said = ("", "")
        self.asking = False
        self.done: set[str] = set()  # hosts of this batch; one that has several modules is told several times

    def start(self, run: Run, hosts: Mapping[str, str], attempts: Sequence[Attempt]) -> None:
        self.asking = run.verb in ASKING
        output.note(title(run, hosts, attempts))

    def batch(self, number: int, of: int, hosts: Sequence[str]) -> None:
        self.place = f"batch {number} of {of}: "
        self.done.clear()
        output.note(f"{self.place}{count(len(hosts), 'instance')}")

    def host(self, name: str, state: str, message: str) -> None:
        if not (self.asking and name in self.done):  # a question is answered once, whatever the host then lists
            output.note(f"{self.place}{_told(name, state, message)}")
        self.done.add(name)

    def step(self, name: str, task: str, *, done: bool) -> None:
        if done and not self.place and self.said != (name, task):  # in a batch its hosts say enough
            self.said = (name, task)
            output.note(f"{name}: {task}")


class Live:
    """A bar per batch with the time since the start; a line above it for each host that is done."""

    def __init__(self) -> None:
        self.console: Console | None = None
        self.bars: Bars | None = None
        self.bar: TaskID | None = None
        self.asking = False
        self.done: set[str] = set()

    def start(self, run: Run, hosts: Mapping[str, str], attempts: Sequence[Attempt]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self.asking = run.verb in ASKING
        self.console = Console(stderr=True, highlight=False, markup=False, no_color=not output.has_colour(sys.stderr))
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}", markup=False),
            console=self.console,
            transient=True,
        )
        self.bars.start()
        self.bar = self.bars.add_task(run.verb, total=len(hosts), doing="")
        self._say(title(run, hosts, attempts))

    def batch(self, number: int, of: int, hosts: Sequence[str]) -> None:
        self.done.clear()
        if self.bars and self.bar is not None:
            self.bars.update(
                self.bar, description=f"batch {number} of {of}", completed=0, total=len(hosts), doing="", refresh=True
            )

    def host(self, name: str, state: str, message: str) -> None:
        if not (self.asking and name in self.done):
            self._say(_told(name, state, message), colour=COLOURS.get(state, ""))
        self.done.add(name)
        if self.bars and self.bar is not None:
            self.bars.update(self.bar, completed=len(self.done), doing="", refresh=True)

    def step(self, name: str, task: str, *, done: bool) -> None:
        if not done and self.bars and self.bar is not None:
            self.bars.update(self.bar, doing=layout.visible(f"{name}: {task}"))

    def note(self, text: str) -> None:
        self._say(text)

    def stop(self) -> None:
        if self.bars:
            self.bars.stop()

    def _say(self, text: str, *, colour: str = "") -> None:
        if self.console is None:
            output.note(text)
            return
        from rich.text import Text

        self.console.print(Text(layout.visible(text), style=colour), soft_wrap=True)  # a style here takes the bar too


def title(run: Run, hosts: Mapping[str, str], attempts: Sequence[Attempt]) -> str:
    """Say in one line what a run is going to do."""
    modules = len({one.module_id for one in attempts if one.module_id})
    what = f"{count(len(hosts), 'instance')}{', ' + count(modules, 'module') if modules else ''}"
    batches = len(run.batch_sizes)
    spread = f" in {batches} batches" if batches > 1 else ""
    return f"run {run.id}: {run.title}, {what}{spread}"


def count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("ch") else "s"
    return f"{number} {noun}" + ("" if number == 1 else plural)


def _told(name: str, state: str, message: str) -> str:
    return f"{name} {state}" + (f"  {message}" if message else "")
