"""A fleet of real servers on this machine, for the tests of the provider `local`."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dbmod import building, config, identity, inventory, local_servers, operations, paths, providers, runner, store
from dbmod.context import Context
from dbmod.records import Attempt, Instance, Run
from tests import ports

STOPPER = local_servers.Server(
    title="a test's server",
    programs=("redis-server", "valkey-server", "mariadbd", "mysqld", "postgres"),
    arguments=(),
    package="",
    start_seconds=1,
    stop_seconds=1,
)


class Silent:
    """Progress that nobody watches."""

    def start(self, run: Run, hosts: Mapping[str, str], attempts: Sequence[Attempt]) -> None: ...

    def batch(self, number: int, of: int, hosts: Sequence[str]) -> None: ...

    def host(self, name: str, state: str, message: str) -> None: ...

    def step(self, name: str, task: str) -> None: ...

    def note(self, text: str) -> None: ...

    def stop(self) -> None: ...


class LocalFleet:
    """A home with its servers; every command is carried out by its real playbook."""

    def __init__(self, directory: Path) -> None:
        self.settings = config.Settings(
            home=str(directory / "home"),
            local_directory=str(directory / "servers"),
            local_ports=ports.own(),
        )
        self.context = Context(
            store=store.open(self.settings), settings=self.settings, actor=identity.current(self.settings)
        )

    def carry_out(self, planned: tuple[Any, Run]) -> Run:
        return runner.carry_out(self.context, planned[1], progress=Silent())

    def planned(self, planned: operations.Planned) -> Run:
        assert planned.run is not None
        return runner.carry_out(self.context, planned.run, progress=Silent())

    def create(self, name: str, datastore: str, **more: Any) -> Instance:
        request = building.NewInstance(name=name, member=building.Member(flavor="15"), datastore=datastore, **more)
        self.carry_out(building.plan_create(self.context, request))
        return self.instance(name)

    def instance(self, name: str) -> Instance:
        [found] = self.context.store.snapshot().find(Instance, name=name, deleted_at=None)
        return found

    def living(self) -> list[str]:
        return [one.name for one in self.context.store.snapshot().find(Instance, deleted_at=None)]

    def client(self, instance: Instance, words: str) -> str:
        """Run the client as `show` tells a person to; give what it prints."""
        command = f"{providers.connect_hint(instance)} {words}"
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60).stdout

    def configure_again(self, instance: Instance, directory: Path, *options: str) -> str:
        """Make the directories and configure once more, by a playbook in *directory*; give what it counts."""
        data = inventory.build(
            [instance],
            host_names={instance.id: instance.name},
            connections={instance.id: providers.connection("local")},
        )
        (directory / "hosts.json").write_bytes(msgspec.json.encode(data))
        (directory / "again.yml").write_text(
            "- hosts: all\n  gather_facts: false\n  tasks:\n"
            + "".join(
                f"    - ansible.builtin.include_role: {{name: {role}, tasks_from: {tasks}}}\n"
                for role, tasks in (
                    ("provider_local", "directories"),
                    (f"datastore_{instance.datastore}", "configure"),
                )
            )
        )
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i", str(directory / "hosts.json"), str(directory / "again.yml"), *options,
        ]  # fmt: skip
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(paths.content() / "ansible.cfg"),
            "ANSIBLE_ACTION_PLUGINS": str(paths.content() / "playbooks" / "action_plugins"),
            "DBMOD_HOME": str(self.settings.home_path),
        }
        answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout.split("PLAY RECAP")[1]


@contextmanager
def opened() -> Iterator[LocalFleet]:
    """Give an empty fleet, and leave no server behind."""
    directory = Path(tempfile.mkdtemp(prefix="dbmod-fleet-"))
    directory.chmod(0o711)  # as root every server has a user of its own, who has to get in
    fleet_of_test = LocalFleet(directory)
    try:
        yield fleet_of_test
    finally:
        for instance in fleet_of_test.context.store.snapshot().find(Instance):
            local_servers.stop(place(instance), STOPPER)
        shutil.rmtree(directory)


def place(instance: Instance) -> local_servers.Place:
    facts = instance.provider_facts
    return msgspec.convert(
        {
            "directory": Path(str(facts["directory"])),
            "uid": facts.get("uid"),
            "gid": facts.get("gid"),
            "address": instance.address,
            "port": instance.port,
        },
        local_servers.Place,
    )


def pids(instance: Instance) -> list[int]:
    return local_servers.processes(place(instance), STOPPER)


@contextmanager
def settings_changed(fleet_of_test: LocalFleet, **changes: Any) -> Iterator[None]:
    """Use other settings for a while."""
    before = fleet_of_test.settings, fleet_of_test.context
    fleet_of_test.settings = msgspec.structs.replace(fleet_of_test.settings, **changes)
    fleet_of_test.context = msgspec.structs.replace(fleet_of_test.context, settings=fleet_of_test.settings)
    try:
        yield
    finally:
        fleet_of_test.settings, fleet_of_test.context = before
