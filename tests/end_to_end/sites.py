"""A site: a home, hosts and the command, as a user has them.

Its hosts are directories of this machine, or machines of a bed reached by SSH; there is no server behind them.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dbmod import config, identity, paths, registry, store
from dbmod.context import Context
from dbmod.records import Attempt, Instance, Module, Record, Run
from tests import builders, ports
from tests.beds.hosts import Host
from tests.faults import checker, failpoints

R = TypeVar("R", bound=Record)
PATIENCE_SECONDS = 240  # below the time limit of a test
HOST_HOME = "var/lib/dbmod"  # of machines, below their root
BIN = Path(sys.executable).parent
# Takes any bytes; its message tells how many. Contents that begin with fail, crash or stay make trouble on the host.
BLOB = '''"""Any bytes."""
from ansible.module_utils import dbmod_kit as kit

DECLARES = kit.Declares(secret={secret})


def validate(contents):
    pass


def apply(contents, host):
    if contents.startswith(b"fail"):
        raise kit.Refused("asked to fail")
    if contents.startswith(b"crash"):
        raise ValueError(contents)
    return kit.Outcome(changed=False, message="%d bytes" % len(contents))


def remove(contents, host):
    if contents.startswith(b"stay"):
        raise kit.Refused("asked to stay")
    return kit.Outcome(changed=False, message="")


if __name__ == "__main__":
    kit.main(validate, apply, remove)
'''


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"

    def json(self) -> Any:
        return json.loads(self.out)


class Site:
    """Everything below one directory.

    settled  whether every host was asked since the last fault, see checker
    broken   names of instances whose host a test broke on purpose
    homes    what hosts reached by SSH hold, seen from here: instance id → directory
    """

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.types = directory / "types"
        self.types.mkdir(parents=True, exist_ok=True)
        for name, secret in (("blob", False), ("token", True)):
            (self.types / f"dbmod_{name}.py").write_text(BLOB.replace("{secret}", str(secret)))
        known = {name: value for name, value in os.environ.items() if not name.startswith(("DBMOD_", "ANSIBLE_"))}
        self.environment = known | {
            "DBMOD_HOME": str(self.home),
            "DBMOD_LOCAL_DIRECTORY": str(directory / "local"),
            "DBMOD_LOCAL_PORTS": ports.own(),
            "DBMOD_TYPE_DIRECTORIES": json.dumps([str(self.types)]),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(paths.PACKAGE.parent),
            **environment,
        }
        self.settled = False
        self.broken: set[str] = set()
        self.homes: dict[str, Path] = {}

    @property
    def settings(self) -> config.Settings:
        return config.load(self.environment).settings

    @property
    def context(self) -> Context:
        settings = self.settings
        return Context(store=store.open(settings), settings=settings, actor=identity.current(settings))

    def copy(self, directory: Path) -> "Site":
        """Give the same site at another place."""
        shutil.copytree(self.directory, directory, symlinks=True)
        other = Site(directory)
        with other.context.store.transaction(holder="copy") as tables:
            for one in tables.find(Instance):
                place = directory / Path(str(one.provider_facts["directory"])).name
                tables.put(msgspec.structs.replace(one, provider_facts={"directory": str(place)}))
        return other

    def add_hosts(self, count: int, *, name: str = "db", **changes: Any) -> list[Instance]:
        """Add ACTIVE instances db-0, db-1 …; each has its directory and no server."""
        added = []
        for number in range(count):
            place = self.directory / f"{name}-{number}"
            place.mkdir(mode=0o700)
            facts = {"provider_facts": {"directory": str(place)}, "port": None}
            added.append(builders.instance(f"{name}-{number}", **(facts | changes)))
        with self.context.store.transaction(holder="test") as tables:
            tables.put(*added)
        return added

    def add_machines(
        self, machines: Sequence[Host], *, name: str = "db", user: str = Host.user, **changes: Any
    ) -> list[Instance]:
        """Add ACTIVE instances db-00, db-01 … on real hosts; dbmod logs in as *user* and becomes root by sudo."""
        added = []
        for number, machine in enumerate(machines):
            facts = {"user": user, "become": int(user != "root"), "ssh_port": 22, "home": f"/{HOST_HOME}"}
            known = {"provider": "ssh", "address": machine.address, "host_keys": machine.host_keys}
            added.append(builders.instance(f"{name}-{number:02}", **(known | {"provider_facts": facts} | changes)))
            self.homes[added[-1].id] = machine.root / HOST_HOME
            self.environment["DBMOD_SSH_PRIVATE_KEY"] = str(machine.key_file)
        with self.context.store.transaction(holder="test") as tables:
            tables.put(*added)
        return added

    def add_module(self, name: str, contents: bytes, *, kind: str = "ping", **more: Any) -> Module:
        request = registry.Request(name=name, type=kind, live_update=True, **more)
        return registry.create(self.context, request, contents)

    def update_module(self, name: str, contents: bytes) -> Module:
        return registry.change(self.context, name, registry.Change(), contents)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start the command in a session of its own, as a terminal does."""
        return subprocess.Popen(
            [sys.executable, "-m", "dbmod", *words],
            cwd=self.directory,
            env=self.environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def dbmod(self, *words: str, stdin: bytes = b"", **environment: str) -> Ended:
        """Run the command as a user does."""
        return finish(self.start(*words, **environment), stdin)

    def well(self, *words: str, stdin: bytes = b"", **environment: str) -> Ended:
        """Run the command, which has to succeed."""
        ended = self.dbmod(*words, stdin=stdin, **environment)
        assert ended.code == 0, (words, ended.said)
        return ended

    def ansible(self, program: str, *words: str, **environment: str) -> Ended:
        """Run an Ansible program in the project, as somebody without our command does."""
        process = subprocess.Popen(
            [str(BIN / program), *words],
            cwd=paths.content(),
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return finish(process)

    def playbook(self, name: str, *words: str, **environment: str) -> Ended:
        return self.ansible("ansible-playbook", str(paths.playbook(name)), *words, **environment)

    def dead(self, *names: str) -> list[str]:
        """Give a playbook's arguments: an inventory beside ours that makes hosts dead, as nobody listens on port 1."""
        path = self.directory / "dead.json"
        unreachable = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
        path.write_text(json.dumps({"all": {"hosts": dict.fromkeys(names, unreachable)}}))
        return ["-i", "inventory/dbmod.yml", "-i", str(path)]

    def find(self, kind: type[R], **equals: object) -> list[R]:
        return self.context.store.snapshot().find(kind, **equals)

    def attempts(self, run: Run) -> list[Attempt]:
        """Give a run's attempts, as planned."""
        return sorted(self.find(Attempt, run_id=run.id), key=lambda one: (one.batch, one.position, one.order))

    def last_run(self) -> Run:
        return max(self.find(Run), key=lambda one: one.serial)

    def module(self, name: str) -> Module:
        [found] = self.find(Module, name=name, deleted_at=None)
        return found

    def instance(self, name: str) -> Instance:
        [found] = self.find(Instance, name=name, deleted_at=None)
        return found

    def states(self, run: Run) -> dict[str, str]:
        """Give what became of each instance in a run: name → state of its attempt."""
        names = {one.id: one.name for one in self.find(Instance)}
        return {names[one.instance_id]: one.state for one in self.attempts(run)}

    def problems(self) -> list[str]:
        return checker.problems(self.settings, settled=self.settled, except_for=self.broken, homes=self.homes)

    def folder(self, instance: Instance, module: Module) -> Path:
        """Say where a host keeps a module, seen from here."""
        return checker.folder_of(instance, module, self.homes)

    def held(self, instance: Instance, module: Module) -> checker.Held:
        """Read what a host holds of a module."""
        return checker.on_host(instance, module, self.homes)

    def close(self) -> None:
        """Leave nothing running."""
        failpoints.kill(failpoints.processes(self.home))
        with contextlib.suppress(AssertionError):
            failpoints.wait_for_end(self.home)


def finish(process: subprocess.Popen[bytes], stdin: bytes = b"") -> Ended:
    out, err = process.communicate(stdin or None, timeout=PATIENCE_SECONDS)
    return Ended(code=process.returncode, out=out.decode(errors="replace"), err=err.decode(errors="replace"))
