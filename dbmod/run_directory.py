"""The private directory of a run, gone when it ends: inventory, known host keys, the key of the contents, the
address of a ledger in PostgreSQL; and what of the environment its playbook sees.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from dbmod import adopted, clock, config, connections, fleet, ids, inventory, ledger, paths, processes, providers, vault
from dbmod.context import Context
from dbmod.records import Attempt, Instance, Owner, Run
from dbmod.store import durable

PASSED = ("HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "SSH_AUTH_SOCK", "KRB5CCNAME", "KRB5_CONFIG")
PASSED_PREFIXES = ("DBMOD_", "LC_")
WITHHELD = ("DBMOD_KEY", "DBMOD_PREVIOUS_KEY", "DBMOD_LEDGER")  # ansible-runner writes the whole environment to disk
BUILDING = ("create", "delete", "grow", "shrink")  # verbs with dozens of tasks on each host; they may ask a cloud
KNOWN_HOSTS = "known_hosts"
MAKER = "maker"  # the process that made the directory
UNSIGNED_SECONDS = 60


def hosts_of(context: Context, run: Run) -> dict[str, Instance]:
    """Give the hosts that a run's inventory needs: those of its attempts, and all members of its cluster.

    Returns  inventory host name → instance
    """
    tables = context.store.snapshot()
    living = tables.find(Instance, deleted_at=None)
    wanted = {attempt.instance_id for attempt in tables.find(Attempt, run_id=run.id)}
    if run.cluster_id:
        wanted |= {member.id for member in fleet.members_of(tables, run.cluster_id)}
    host_names = inventory.host_names(living)
    return {host_names[one.id]: adopted.reached(run, one) for one in living if one.id in wanted}


def sweep(context: Context) -> None:
    """Remove the directories that runs left when they were killed."""
    directories = list((context.settings.home_path / "runs").glob("*/"))
    tables = context.store.snapshot()  # after the listing: so it knows the run of every directory in it
    for directory in directories:
        run = tables.get(Run, directory.name)
        if (run is None or not run.is_open) and not _is_in_use(directory):
            shutil.rmtree(directory, ignore_errors=True)


def _is_in_use(directory: Path) -> bool:
    """Tell whether its maker lives: the playbook ends the run a moment before ansible-runner is done there.

    A maker makes the directory first and then signs it: one without a signature is a dead one's only after a while.
    """
    try:
        return processes.is_alive(msgspec.json.decode((directory / MAKER).read_bytes(), type=Owner))
    except (OSError, msgspec.MsgspecError):
        with suppress(OSError):
            return clock.now().timestamp() - directory.stat().st_mtime < UNSIGNED_SECONDS
        return False


def parent(context: Context) -> Path:
    directory = context.settings.home_path / "runs"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@contextmanager
def private(context: Context) -> Iterator[Path]:
    """Give a private directory for what is asked of Ansible beside a run; one that is killed leaves it to `sweep`."""
    directory = parent(context) / ids.new_id()
    directory.mkdir(mode=0o700)
    try:
        (directory / MAKER).write_bytes(msgspec.json.encode(processes.owner()))
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def make(context: Context, run_id: str) -> Path:
    """Make the run's own private directory, with its inventory."""
    directory = parent(context) / run_id
    for path in (directory, directory / "inventory"):
        path.mkdir(mode=0o700)
    (directory / MAKER).write_bytes(msgspec.json.encode(processes.owner()))
    run = ledger.open_run(context.store.snapshot(), run_id)
    hosts = hosts_of(context, run)
    data = _described(context, run, hosts)
    _write_known_hosts(directory, hosts.values())
    _write_inventory(directory / "inventory", data, hosts)
    return directory


def variables_of(context: Context, run_id: str, host: str) -> dict[str, Any]:
    """Give the variables of a host that the inventory of a play without the command does not know.

    Where it is reached by SSH its run gets a directory, for the keys of its hosts; `sweep` removes that.
    """
    run = ledger.open_run(context.store.snapshot(), run_id)
    hosts = hosts_of(context, run)
    if providers.connection(hosts[host].provider).get("ansible_connection") == "ssh":
        directory = parent(context) / run_id
        with suppress(FileExistsError):  # the first of several hosts made it
            directory.mkdir(mode=0o700)
            (directory / MAKER).write_bytes(msgspec.json.encode(processes.owner(os.getppid())))
            _write_known_hosts(directory, hosts.values())
    variables: dict[str, Any] = _described(context, run, hosts)["all"]["hosts"][host]
    return variables


def _write_known_hosts(directory: Path, instances: Iterable[Instance]) -> None:
    (directory / KNOWN_HOSTS).write_text(connections.known_hosts(instances), encoding="ascii")


def _described(context: Context, run: Run, hosts: Mapping[str, Instance]) -> dict[str, Any]:
    """Give the inventory of a run's hosts."""
    data = inventory.build(
        hosts.values(),
        host_names={instance.id: host for host, instance in hosts.items()},
        connections=connections.variables(
            hosts.values(),
            context.settings,
            known_hosts_file=parent(context) / run.id / KNOWN_HOSTS,
            is_shared=run.verb in BUILDING,
            adopting=run if run.verb == "adopt" else None,
        ),
    )
    for host, instance in hosts.items() if run.verb == "adopt" else ():
        if instance.provider_facts.get("inventory"):  # that says which port is meant, not what was found before
            for name in connections.SAID_BY_USERS:
                data["all"]["hosts"][host].pop(name, None)
    return data


def _write_inventory(directory: Path, data: dict[str, Any], hosts: Mapping[str, Instance]) -> None:
    """Write the inventory; what we say of a host in the user's own goes to host_vars, which count more than that."""
    for host, instance in hosts.items():
        if not instance.provider_facts.get("inventory"):
            continue
        variables = data["all"]["hosts"][host]
        data["all"]["hosts"][host] = {}
        (directory / "host_vars").mkdir(mode=0o700, exist_ok=True)
        (directory / "host_vars" / f"{host}.json").write_bytes(msgspec.json.encode(variables))
    (directory / "hosts.json").write_bytes(msgspec.json.encode(data))


@contextmanager
def environment(context: Context, directory: Path) -> Iterator[None]:
    """Give the playbook an environment by allow-list: ansible-runner passes on, and writes down, all it finds."""
    before = dict(os.environ)
    kept = {
        name: value
        for name, value in before.items()
        if (name in PASSED or name.startswith(PASSED_PREFIXES) or name in context.settings.environment_passed)
        and name not in WITHHELD
    }
    if not vault.is_in_file(context.settings):
        key = directory / "key"  # read once here, and not once for each host
        durable.write_file(key, *(f"{one.line}\n".encode() for one in vault.keys(context.settings)))
        kept["DBMOD_KEY_COMMAND"] = shlex.join(["cat", str(key)])
    address = context.store.address()
    if address:
        durable.write_file(directory / "ledger", address.encode())
        kept["DBMOD_LEDGER"] = str(directory / "ledger")
    kept |= _cloud_environment(context, directory) | _settings(context, before)
    kept |= {"DBMOD_IDENTITY": "config", "DBMOD_TENANT": context.actor.tenant, "DBMOD_ADMIN": str(context.actor.admin)}
    kept["DBMOD_HOME"] = str(context.settings.home_path)
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before.get("PATH", os.defpath)])
    kept["ANSIBLE_CONFIG"] = str(paths.content() / "ansible.cfg")
    kept["ANSIBLE_TIMEOUT"] = str(context.settings.connect_timeout_seconds)
    kept["ANSIBLE_HOST_KEY_CHECKING"] = "True"  # ansible-runner turns it off where it is not set
    kept["ANSIBLE_LOCAL_TEMP"] = str(directory / "tmp")
    if _is_all_here(context, directory):  # on another machine nobody may be allowed to make a directory of this path
        kept["ANSIBLE_REMOTE_TEMP"] = kept["ANSIBLE_LOCAL_TEMP"]
    os.environ.clear()
    os.environ.update(kept)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _settings(context: Context, environ: Mapping[str, str]) -> dict[str, str]:
    """Give what lets the playbook, which runs in another directory, find the settings of this one."""
    file = config.file_in_use(environ)
    directories = [str(paths.named(one)) for one in context.settings.type_directories]
    found = {"DBMOD_CONFIG": str(file.absolute())} if file else {}
    return found | ({"DBMOD_TYPE_DIRECTORIES": msgspec.json.encode(directories).decode()} if directories else {})


def _is_all_here(context: Context, directory: Path) -> bool:
    """Tell whether all hosts of the run are this machine."""
    run = context.store.snapshot().get(Run, directory.name)
    hosts = hosts_of(context, run).values() if run else ()
    return all(providers.connection(one.provider).get("ansible_connection") == "local" for one in hosts)


def _cloud_environment(context: Context, directory: Path) -> dict[str, str]:
    """Give what a run that makes or removes machines in a cloud needs; its login lies in the run's own directory."""
    run = context.store.snapshot().get(Run, directory.name)
    if run is None or run.verb not in BUILDING:
        return {}
    if not any(instance.provider == "openstack" for instance in hosts_of(context, run).values()):
        return {}
    from dbmod import cloud

    return cloud.write_client_file(context.settings, directory)


def inventories(context: Context, run: Run, directory: Path) -> list[str]:
    """List the inventories of a run, ours last: what a later one says of a host counts. Raises BadInput."""
    return [*connections.inventories(hosts_of(context, run).values()), str(directory / "inventory" / "hosts.json")]
