"""Modules of the type config on real servers of the provider `local`, as the command applies them."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dbmod import errors, fleet, operations, registry
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.selection import Selection
from tests import local_fleet
from tests.local_fleet import LocalFleet


class Configured:
    """One instance of a fleet, and a module of settings for it."""

    def __init__(self, fleet_of_test: LocalFleet, instance: Instance) -> None:
        self.fleet = fleet_of_test
        self.instance = instance
        self.selection = Selection(instance=instance.name)

    def apply(self, name: str, text: str) -> tuple[str, str, bool]:
        """Register the module or its next version, and apply it; give state, message and whether it changed."""
        context, contents = self.fleet.context, text.encode()
        try:
            registry.change(context, name, registry.Change(), contents)
        except errors.NotFound:
            registry.create(context, registry.Request(name=name, type="config", live_update=True), contents)
        return self.again(name)

    def again(self, name: str) -> tuple[str, str, bool]:
        return self._carried_out(operations.plan_apply(self.fleet.context, self.selection, [name]))

    def remove(self, name: str) -> tuple[str, str, bool]:
        return self._carried_out(operations.plan_remove(self.fleet.context, self.selection, name))

    def query(self) -> str:
        """Say what is told of the modules whose last attempt did not fail."""
        run = self.fleet.planned(operations.plan_question(self.fleet.context, "query", self.selection))
        return " ".join(one.message for one in self._attempts(run) if one.message and one.status != "ERROR")

    def restart(self) -> None:
        assert self.fleet.carry_out(fleet.plan_restart(self.fleet.context, self.instance.name)).state == "done"

    def seen(self, name: str) -> tuple[str | None, str]:
        """Ask the host, and give what the ledger then says of a module there."""
        self.fleet.planned(operations.plan_question(self.fleet.context, "reconcile", self.selection))
        tables = self.fleet.context.store.snapshot()
        [module] = tables.find(Module, name=name, deleted_at=None)
        row = tables.get(Row, self.instance.id, within=module.id)
        assert row
        return row.observed, row.observed_detail

    @property
    def directory(self) -> Path:
        return local_fleet.place(self.instance).directory / "etc" / "conf.d"

    def files(self) -> dict[str, bytes]:
        """Give what modules have left here, by name."""
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    def pid(self) -> int:
        """Give the server's first process."""
        return min(local_fleet.pids(self.instance), key=lambda one: Path(f"/proc/{one}").stat().st_mtime)

    def _carried_out(self, planned: operations.Planned) -> tuple[str, str, bool]:
        [attempt] = self._attempts(self.fleet.planned(planned))
        return attempt.state, attempt.message, attempt.changed

    def _attempts(self, run: Run) -> list[Attempt]:
        return self.fleet.context.store.snapshot().find(Attempt, run_id=run.id)


@contextlib.contextmanager
def watched(answers: Callable[[], bool]) -> Iterator[list[float]]:
    """Ask all the time whether the server answers; fill in the seconds of the longest time that it did not."""
    longest, ended = [0.0], threading.Event()

    def watch() -> None:
        last = time.monotonic()
        while not ended.is_set():
            if answers():
                longest[0] = max(longest[0], time.monotonic() - last)
                last = time.monotonic()
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield longest
    finally:
        ended.set()
        thread.join()
