"""The whole fleet of a ledger as an inventory, for the dynamic source inventory/dbmod.yml."""

import hashlib
import os
import sys

import msgspec

import dbmod
from dbmod import connections, identity, inventory, inventory_groups, lookup, names, paths
from dbmod.config import Settings
from dbmod.context import Context
from dbmod.records import Cluster, Instance, Module, Row
from dbmod.store import durable
from dbmod.store.interface import Tables

KNOWN_HOSTS = "known_hosts"


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """The inventory of what exists for the one who asks."""

    stamp: str
    hosts: dict[str, inventory.Variables]
    groups: inventory_groups.Groups
    known_hosts: str  # the text of the file that the hosts' variables name


def stamp(context: Context, tables: Tables) -> str:
    """Give a digest of what an inventory follows from: the ledger's serial, the settings, who asks, this dbmod."""
    here = (dbmod.__version__, str(paths.content()), sys.executable)
    said = (tables.serial, context.settings, context.actor, *here)
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def load(context: Context, tables: Tables) -> Fleet:
    living = tables.find(Instance, deleted_at=None)
    host_names = inventory.host_names(living)  # of all, as the plan of a run does
    seen = sorted(
        lookup.living_instances(tables, actor=context.actor), key=lambda one: names.natural_key(host_names[one.id])
    )
    reached = connections.variables(seen, context.settings, known_hosts_file=context.settings.home_path / KNOWN_HOSTS)
    rows = tables.find(Row, removed_at=None)
    holding = {row.module_id for row in rows}
    modules = [
        module
        for module in tables.find(Module)
        if identity.sees(context.actor, module) and (module.deleted_at is None or module.id in holding)
    ]
    return Fleet(
        stamp=stamp(context, tables),
        hosts=inventory.build(seen, host_names=host_names, connections=reached)["all"]["hosts"],
        groups=inventory_groups.build(
            seen, host_names=host_names, clusters=tables.find(Cluster), modules=modules, rows=rows
        ),
        known_hosts=connections.known_hosts(living),  # of all: others who use this home read the same file
    )


def to_text(fleet: Fleet) -> str:
    """Write a fleet for a cache."""
    return msgspec.json.encode(fleet).decode()


def from_text(text: object, *, stamp: str) -> Fleet | None:
    """Read what a cache gave; None where that is nothing, or what was so under another stamp."""
    try:
        fleet = msgspec.json.decode(str(text), type=Fleet)
    except msgspec.MsgspecError:
        return None
    return fleet if fleet.stamp == stamp else None


def write_known_hosts(settings: Settings, text: str) -> None:
    """Write the file that the hosts' connection variables name, unless it is there as it is to be.

    Raises  LedgerUnwritable
    """
    file, keys = settings.home_path / KNOWN_HOSTS, text.encode()
    try:
        if not keys or (file.exists() and file.read_bytes() == keys):
            return
        durable.make_directory(file.parent)
        own = file.with_name(f"{file.name}.{os.getpid()}")  # several inventories may be read at once
        durable.write_file(own, keys)
        own.replace(file)
    except OSError as error:
        raise durable.unwritable(error, file, needed_bytes=len(keys)) from error
