"""Promise R5: sixteen writers at once, of every kind, lose no update."""

import hashlib
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from dbmod import config, identity, registry, store
from dbmod.context import Context
from dbmod.records import Attempt, Module
from tests import figures
from tests.end_to_end.awx_shape import Controller
from tests.end_to_end.sites import Ended, Site

COMMANDS, COMMANDS_EACH = 8, 10
LIBRARIES, LIBRARY_EACH = 8, 25
PLAYBOOKS, HOSTS = 2, 8
# Of the nightly test: half of its Ansible writers are plain playbooks, half jobs as AWX runs them.
NIGHTLY_EACH, ANSIBLE_WRITERS, WRITER_HOSTS, WRITER_MODULES = 25, 8, 25, 10


def contents_of(writer: str, number: int) -> bytes:
    return f"message={writer} {number}\n".encode()


def by_command(site: Site, writer: str, ended: list[Ended], *, count: int = COMMANDS_EACH) -> None:
    """Update the module that all share, and create one of its own, in turn."""
    path = site.directory / writer
    for number in range(count):
        path.write_bytes(contents_of(writer, number))
        if number % 2:
            words = ["module-create", f"{writer}-{number}", "ping", str(path)]
        else:
            words = ["module-update", "shared", "--file", str(path)]
        ended.append(site.dbmod(*words, "--lock-wait", "60"))


def by_library(environment: dict[str, str], writer: str) -> None:
    """The same in a process that keeps its store open, as the demonstration and tests do."""
    settings = config.load({name: value for name, value in environment.items() if name.startswith("DBMOD_")}).settings
    here = Context(store=store.open(settings), settings=settings, actor=identity.current(settings))
    for number in range(LIBRARY_EACH):
        contents = contents_of(writer, number)
        if number % 2:
            request = registry.Request(name=f"{writer}-{number}", type="ping")
            registry.create(here, request, contents)
        else:
            registry.change(here, "shared", registry.Change(), contents)


@pytest.fixture(
    params=[pytest.param("site", id="files"), pytest.param("team_site", id="postgresql", marks=pytest.mark.nightly)]
)
def site(request: pytest.FixtureRequest) -> Site:
    """A site of each kind of ledger."""
    chosen: Site = request.getfixturevalue(request.param)
    return chosen


def test_sixteen_writers_and_two_playbooks_lose_nothing(site: Site, request: pytest.FixtureRequest) -> None:
    site.environment |= {"DBMOD_LOCK_WAIT_SECONDS": "60"}
    site.add_module("shared", b"message=first\n")
    site.add_hosts(HOSTS)
    for number in range(PLAYBOOKS):
        site.add_module(f"played-{number}", b"message=played\n")
    ended: list[Ended] = []
    played: list[Ended] = []

    def play(number: int) -> None:
        given = ["-e", "all_instances=true", "-e", f"modules=played-{number}", "-e", "batch_size=2", "-e", "delay=0"]
        played.append(site.playbook("module_apply", *given))

    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=by_library, args=(site.environment, f"lib{one}")) for one in range(LIBRARIES)]
    threads = [threading.Thread(target=by_command, args=(site, f"cli{one}", ended)) for one in range(COMMANDS)]
    threads += [threading.Thread(target=play, args=(one,)) for one in range(PLAYBOOKS)]
    started = time.monotonic()
    for each in (*processes, *threads):
        each.start()
    for each in (*processes, *threads):
        each.join()
    seconds = time.monotonic() - started

    assert [one.said for one in (*ended, *played) if one.code != 0] == []
    assert [one.exitcode for one in processes] == [0] * LIBRARIES
    writers = [(f"cli{one}", COMMANDS_EACH) for one in range(COMMANDS)]
    writers += [(f"lib{one}", LIBRARY_EACH) for one in range(LIBRARIES)]
    written = written_by(writers)
    assert lost(site, written) == []
    applied = site.find(Attempt, state="ok")
    assert len(applied) == PLAYBOOKS * HOSTS
    updates = f"{len(written)} of {len(written)} updates of {len(writers)} writers"
    rows = f"{len(applied)} rows of {PLAYBOOKS} playbooks"
    figures.figure("R5", f"{updates} and {rows} at once are there, {seconds:.0f} s ({request.node.callspec.id})")


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_commands_playbooks_and_jobs_of_awx_lose_nothing(site: Site, request: pytest.FixtureRequest) -> None:
    site.environment |= {"DBMOD_LOCK_WAIT_SECONDS": "120"}
    site.add_module("shared", b"message=first\n")
    modules = {}
    for writer in range(ANSIBLE_WRITERS):
        site.add_hosts(WRITER_HOSTS, name=f"writer{writer}")
        modules[writer] = [f"played{writer}-{number}" for number in range(WRITER_MODULES)]
        for name in modules[writer]:
            site.add_module(name, b"message=played\n")
    ended: list[Ended] = []
    codes: list[int] = []
    controller = Controller(site)

    def play(writer: int) -> None:
        given = {"limit_to": f"writer{writer}-*", "modules": ",".join(modules[writer]), "batch_size": 5, "delay": 0}
        if writer % 2:
            codes.append(controller.launch("dbmod module_apply", given).code)
        else:
            words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
            codes.append(site.playbook("module_apply", *words).code)

    commands = [f"cli{one}" for one in range(COMMANDS)]
    threads = [
        threading.Thread(target=by_command, args=(site, writer, ended), kwargs={"count": NIGHTLY_EACH})
        for writer in commands
    ]
    threads += [threading.Thread(target=play, args=(writer,)) for writer in range(ANSIBLE_WRITERS)]
    started = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    seconds = time.monotonic() - started

    assert [one.said for one in ended if one.code != 0] == []
    assert codes == [0] * ANSIBLE_WRITERS
    written = written_by([(writer, NIGHTLY_EACH) for writer in commands])
    assert lost(site, written) == []
    recorded = Counter(one.run_id for one in site.find(Attempt, state="ok"))
    assert sorted(recorded.values()) == [WRITER_HOSTS * WRITER_MODULES] * ANSIBLE_WRITERS
    rows = f"{ANSIBLE_WRITERS} runs of {WRITER_HOSTS * WRITER_MODULES} rows, half of them jobs of AWX"
    updates = f"{len(written)} of {len(written)} updates of {COMMANDS} commands"
    figures.figure("R5", f"{updates} and {rows} at once are there, {seconds:.0f} s ({request.node.callspec.id})")


def written_by(writers: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(writer, number) for writer, count in writers for number in range(count)]


def lost(site: Site, written: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """List the updates that were written and are not in the ledger."""
    found = {version.sha256 for version in site.module("shared").versions}
    created = {module.name for module in site.find(Module)}
    return [
        (writer, number)
        for writer, number in written
        if (f"{writer}-{number}" not in created if number % 2 else digest(writer, number) not in found)
    ]


def digest(writer: str, number: int) -> str:
    return hashlib.sha256(contents_of(writer, number)).hexdigest()
