"""Plans in files (R8): done exactly as saved, and refused wherever the ledger has moved."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dbmod import errors, holds, operations, plan_files
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.paces import Pace
from dbmod.plan_files import Asked, Command
from dbmod.records import Attempt, Record
from dbmod.selection import Selection
from tests import builders, figures

REPLACE = msgspec.structs.replace
ASKED: dict[Command, Asked] = {
    "module-apply": Asked(
        command="module-apply", modules=("mymod",), selection=Selection(datastore="redis"), pace=Pace(batch_size=2)
    ),
    "module-reapply": Asked(command="module-reapply", modules=("mymod",), include_clustered=True),
    "module-remove": Asked(command="module-remove", modules=("mymod",), selection=Selection(all=True)),
}
refused: list[str] = []


class Ground:
    """Three redis and a member of a cluster, mymod in two versions, the first held by all; and what happens to them."""

    def __init__(self, here: Context, directory: Path) -> None:
        self.here = here
        self.file = directory / "plan.json"
        self.tasks = directory / "tasks.yml"
        self.tasks.write_text("[]\n")
        self.module = builders.module(versions=2)
        self.cluster = builders.cluster()
        self.one, *others = [builders.instance(f"db-{number}") for number in (1, 2, 3)]
        member = builders.instance("myclust-member-1", cluster_id=self.cluster.id)
        self.put(self.module, self.cluster)
        for instance in (self.one, *others, member):
            self.put(instance, builders.row(self.module, instance, 1))

    def put(self, *records: Record) -> None:
        with self.here.store.transaction(holder="somebody else") as tables:
            tables.put(*records)

    def save(self, asked: Asked) -> plan_files.Plan:
        plan, _ = plan_files.save(self.here, self.file, asked, lambda selection: selection)
        return plan

    def take(self, command: Command) -> Planned:
        plan = plan_files.read(self.file, command)
        return plan_files.take(self.here, self.file, plan, lambda selection: selection)


def put_module(**changes: Any) -> Callable[[Ground], None]:
    return lambda ground: ground.put(REPLACE(ground.module, **changes))


def put_first(**changes: Any) -> Callable[[Ground], None]:
    return lambda ground: ground.put(REPLACE(ground.one, **changes))


def add(name: str) -> Callable[[Ground], None]:
    def work(ground: Ground) -> None:
        instance = builders.instance(name)
        ground.put(instance, builders.row(ground.module, instance, 1))

    return work


def put_row(number: int, **changes: Any) -> Callable[[Ground], None]:
    return lambda ground: ground.put(REPLACE(builders.row(ground.module, ground.one, number), **changes))


VERSIONS = tuple(builders.version(number) for number in (1, 2, 3))
MOVES: dict[str, Callable[[Ground], object]] = {
    "the module has another name": put_module(name="other"),
    "a host holds nothing any more": put_row(1, removed_at=builders.MOMENT),
    "a host holds the second version": put_row(2),
    "an instance is new": add("db-4"),
    "an instance is gone": put_first(status="DELETED", deleted_at=builders.MOMENT),
    "an instance has another name": put_first(name="db-one"),
    "another instance has its name": lambda ground: (put_first(name="db-one")(ground), add("db-1")(ground)),
    "an instance is down": put_first(status="ERROR"),
    "an instance is held": lambda ground: holds.hold(REPLACE(ground.here, reason="backup"), "db-1", until=""),
    "another run is at it": lambda ground: operations.plan_apply(ground.here, Selection(instance="db-1"), ["mymod"]),
}
OF_CONTENTS: dict[str, Callable[[Ground], object]] = {  # what is removed is what the host holds
    "the module is gone": put_module(deleted_at=builders.MOMENT),
    "the module has a third version": put_module(versions=VERSIONS),
    "the module is for another datastore": put_module(datastore="mysql"),
}


@pytest.fixture
def ground(here: Context, tmp_path: Path) -> Ground:
    return Ground(here, tmp_path)


@pytest.fixture(scope="module", autouse=True)
def told() -> Iterator[None]:
    yield
    figures.figure("R8", f"{len(refused)} of {len(refused)} plans refused after the ledger had moved, nothing written")


@pytest.mark.parametrize(
    ("command", "move"),
    [(command, move) for command in ASKED for move in (*MOVES, *(OF_CONTENTS if command != "module-remove" else ()))],
)
def test_a_plan_is_refused_when_the_ledger_has_moved(ground: Ground, command: Command, move: str) -> None:
    ground.save(ASKED[command])
    (MOVES | OF_CONTENTS)[move](ground)
    before = ground.here.store.snapshot().serial
    with pytest.raises(errors.BadInput):
        ground.take(command)
    assert ground.here.store.snapshot().serial == before
    refused.append(f"{command}: {move}")


@pytest.mark.parametrize("command", ASKED)
def test_a_plan_writes_nothing_and_is_then_done_exactly(ground: Ground, command: Command) -> None:
    before = ground.here.store.snapshot().serial
    plan = ground.save(ASKED[command])
    assert ground.here.store.snapshot().serial == before
    assert ground.file.stat().st_mode & 0o777 == 0o600
    run = ground.take(command).run
    assert run
    attempts = ground.here.store.snapshot().find(Attempt, run_id=run.id)
    done = {(one.instance_id, one.module_id, one.batch, one.from_number, one.number) for one in attempts}
    assert done == {(one.instance_id, one.module_id, one.batch, one.from_number, one.number) for one in plan.steps}
    assert len(done) == 4


def test_what_does_not_matter_to_the_plan_does_not_stop_it(ground: Ground) -> None:
    ground.save(ASKED["module-reapply"])
    ground.put(builders.module(name="another"), REPLACE(ground.module, description="better told"))
    assert ground.take("module-reapply").run


def test_the_refusal_names_what_has_moved(ground: Ground) -> None:
    ground.save(ASKED["module-apply"])
    ground.put(REPLACE(ground.module, versions=VERSIONS))
    with pytest.raises(errors.Refused) as refusal:
        ground.take("module-apply")
    assert refusal.value.lines()[:2] == [
        f"The ledger has moved since {ground.file} was written; nothing was done.",
        "  1     db-1, mymod: from version 1 to 3 now, the plan has 1 to 2",
    ]


def test_tasks_of_the_user_are_part_of_the_plan(ground: Ground) -> None:
    asked = REPLACE(ASKED["module-apply"], pace=Pace(after_host=str(ground.tasks)))
    ground.save(asked)
    ground.tasks.write_text("[]\n# another\n")
    with pytest.raises(errors.Refused, match="has moved") as refusal:
        ground.take("module-apply")
    assert refusal.value.details == {"1": f"{ground.tasks} is another file now"}


def test_a_directory_is_no_file_of_tasks(ground: Ground) -> None:
    with pytest.raises(errors.BadInput, match="--after-host: cannot read"):
        ground.save(REPLACE(ASKED["module-apply"], pace=Pace(after_host=str(ground.tasks.parent))))


def test_the_refusal_names_another_order_on_a_host(ground: Ground) -> None:
    ground.put(builders.module(id="1065a8ed-0668-4db5-a4ad-d88d0a166388", name="second"))
    ground.save(REPLACE(ASKED["module-apply"], modules=("mymod", "second"), selection=Selection(instance="db-1")))
    ground.put(REPLACE(ground.module, apply_order=9))
    with pytest.raises(errors.Refused) as refusal:
        ground.take("module-apply")
    assert refusal.value.details["1"] == "db-1, mymod: would be module 2 of its instance now, the plan has it as 1"


def test_a_plan_of_no_module_is_refused(ground: Ground) -> None:
    ground.save(ASKED["module-reapply"])
    sealed = msgspec.json.decode(ground.file.read_bytes(), type=plan_files.Sealed)
    data = bytes(sealed.plan).replace(b'"modules":["mymod"]', b'"modules":[]')
    changed = plan_files.Sealed(plan=msgspec.Raw(data), sha256=hashlib.sha256(data).hexdigest())
    ground.file.write_bytes(msgspec.json.encode(changed))
    with pytest.raises(errors.BadInput, match="a plan of no module"):
        ground.take("module-reapply")


def test_a_plan_with_nothing_to_do_stays_one(ground: Ground) -> None:
    asked = REPLACE(ASKED["module-reapply"], only=("drifted",))
    assert ground.save(asked).steps == ()
    assert ground.take("module-reapply").run is None


def test_a_file_that_is_no_plan_or_was_changed_is_refused(ground: Ground) -> None:
    with pytest.raises(errors.BadInput, match="There is no plan"):
        ground.take("module-apply")
    ground.save(ASKED["module-apply"])
    whole = ground.file.read_bytes()
    trials = [whole[:cut] for cut in range(0, len(whole) - 2, 7)]
    trials += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole) - 1, 3)]
    for data in [*trials, b"", b"[" * 100_000, b"\xff", b"{}"]:
        ground.file.write_bytes(data)
        with pytest.raises(errors.BadInput):
            ground.take("module-apply")
    ground.file.write_bytes(whole)
    with pytest.raises(errors.BadInput, match="a plan of module-apply"):
        ground.take("module-remove")
    assert ground.take("module-apply").run
    figures.figure("R8", f"{len(trials)} of {len(trials)} cut or flipped plans refused")
