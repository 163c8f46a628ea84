"""How hosts are reached: the connection variables of each instance, and the host keys that ssh has to find there."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dbmod import errors, keypairs, names, paths, providers
from dbmod.config import Settings
from dbmod.records import Instance, Run

Variables = dict[str, Any]
SAID_BY_USERS = ("dbmod_port", "dbmod_restart_command")  # their inventories may say it to `adopt`
# A host that vanishes in the middle of a task would hang it for ever without the ServerAlive options.
ALIVE = "-o ServerAliveInterval=3 -o ServerAliveCountMax=3"
# A module run has one round trip: a shared connection would only cost, and one of the user's was not checked by us.
ONE_SHOT = "-o ControlMaster=no -o ControlPath=none"
SHARED = "-o ControlMaster=auto -o ControlPersist=20s"  # building a host has dozens
KEY_EXCHANGE = " -o KexAlgorithms=^{}"  # ssh's own come after these, for hosts that have none of them
# First on ssh's command line, and ssh takes the first: no configuration turns the check of the host key off.
BY_THE_FLEET = (
    "-o HostKeyAlias={id} -o UserKnownHostsFile={file} -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes "
    "-o VerifyHostKeyDNS=no"
)
# A host that the fleet has no key of: by what the user's own ssh knows, or taken as it is, for this run alone.
BY_THE_USER = "-o StrictHostKeyChecking=yes"
ACCEPTED = (
    "-o HostKeyAlias={id} -o UserKnownHostsFile={file}.accepted -o GlobalKnownHostsFile=none "
    "-o StrictHostKeyChecking=accept-new"
)


def known_hosts(instances: Iterable[Instance]) -> str:
    """Write the keys of the hosts as ssh's known_hosts.

    A host goes by its instance's id, not by its address: an address may move, and behind two bastions be the same.
    """
    return "".join(f"{instance.id} {key}\n" for instance in instances for key in instance.host_keys)


def variables(
    instances: Iterable[Instance],
    settings: Settings,
    *,
    known_hosts_file: Path,
    is_shared: bool = False,
    adopting: Run | None = None,
) -> Mapping[str, Variables]:
    """Give the connection variables of each instance.

    known_hosts_file  holds what `known_hosts` writes
    is_shared         many tasks are to come on each host
    adopting          the run that meets hosts for the first time, or takes their new keys
    Returns           instance id → variables
    """
    common = f"-o UpdateHostKeys=no {SHARED if is_shared else ONE_SHOT} {ALIVE}"
    if settings.ssh_key_exchange:
        common += KEY_EXCHANGE.format(settings.ssh_key_exchange)
    return {
        instance.id: _of(
            instance,
            settings,
            known_hosts_file=known_hosts_file,
            ssh_args=f"{_check(instance, adopting)} {common}",
        )
        for instance in instances
    }


def _check(instance: Instance, adopting: Run | None) -> str:
    """Give ssh's options that say how this host's key is checked; {id} and {file} are left to fill in."""
    if adopting is None or (instance.host_keys and not adopting.options.get("host_keys_only")):
        return BY_THE_FLEET
    return ACCEPTED if adopting.options.get("accept_host_key") else BY_THE_USER


def _of(instance: Instance, settings: Settings, *, known_hosts_file: Path, ssh_args: str) -> Variables:
    known = providers.connection(instance.provider)
    if known.get("ansible_connection") != "ssh":
        return known | {"ansible_become": False}  # whatever an inventory of the user's in the same run says of `all`
    if any(character.isspace() or character in "\"'\\{}" for character in str(known_hosts_file)):
        raise errors.BadInput(
            f"ssh cannot be given {known_hosts_file}: there is a blank, a quote or a brace in it",
            next_step="set home to a directory without such characters",
        )
    ours: Variables = {
        "ansible_connection": "ssh",
        "ansible_ssh_args": ssh_args.replace("{id}", instance.id).replace("{file}", str(known_hosts_file)),
        "ansible_control_path": f"%(directory)s/{instance.id}",  # an address may be another machine's tomorrow
        "ansible_host_key_checking": True,
        "dbmod_known_hosts": str(known_hosts_file),
    }
    if instance.provider_facts.get("inventory"):
        return ours  # how the host is reached, and as whom, stays with the user's own inventory
    return known | ours | _login(instance, settings)


def _login(instance: Instance, settings: Settings) -> Variables:
    """Give address and account of a host that no inventory of the user's knows."""
    facts = instance.provider_facts
    login: Variables = {
        "ansible_host": instance.address,
        "ansible_port": facts.get("ssh_port", 22),
        "ansible_user": facts.get("user"),
        "ansible_become": bool(facts.get("become")),
        "ansible_ssh_private_key_file": facts.get("private_key") or _key(instance, settings),
    }
    for name in ("ansible_host", "ansible_user"):
        if login[name] is not None and not names.is_plain(str(login[name]).replace(":", "")):
            raise errors.BadInput(f"{instance.name}: {name.removeprefix('ansible_')} {login[name]!r} is not plain")
    return {name: value for name, value in login.items() if value is not None}


def _key(instance: Instance, settings: Settings) -> str | None:
    """Give the private key: the configured one; the machines that dbmod makes have its own."""
    if settings.ssh_private_key or providers.describe(instance.provider).creates:
        return str(keypairs.private_key(settings))
    return None


def inventories(instances: Iterable[Instance]) -> list[str]:
    """List the user's own inventories that these instances were adopted from. Raises BadInput where one is gone."""
    found = list(dict.fromkeys(str(one.provider_facts["inventory"]) for one in instances if _is_from_inventory(one)))
    for path in found:
        if not paths.is_path(path):
            raise errors.Refused(
                f"How these hosts are reached is known to AWX alone: they were adopted from {path}.",
                next_step="start a job template of dbmod there; or adopt them again from a file",
            )
        if not paths.is_there(Path(path)):
            raise errors.BadInput(
                f"The inventory {path} is gone, which says how its hosts are reached.",
                next_step="put it back, or adopt its hosts again from where it is now: dbmod adopt --inventory FILE …",
            )
    return found


def _is_from_inventory(instance: Instance) -> bool:
    return bool(instance.provider_facts.get("inventory"))
