"""What can be created: the datastores that have a role, and the versions of them that are installed here."""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from dbmod import errors, paths

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"  # a user's PATH on Debian lacks the sbin
VERSION = re.compile(r"\b(?:Ver |v=)(\d+(?:\.\d+)+)")
VERSION_SECONDS = 10
ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


class Accounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which accounts a datastore makes when an instance is created.

    databases, users   longest name; 0: the datastore has no such thing
    reserved           names that belong to the server
    """

    databases: int
    users: int
    reserved: tuple[str, ...]


class Datastore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """roles/datastore_<name>/datastore.yml."""

    title: str
    servers: tuple[str, ...]  # programs, the first that is installed is taken
    clients: tuple[str, ...]
    package: str  # what apt installs them with
    port: int  # the usual one; local instances get one of their own
    further_ports: tuple[int, ...]  # what else an instance listens on, as distance from its port
    cluster_minimum: int  # fewest members of a cluster; 0: it makes no clusters
    memory_minimum_mib: int
    connect: str  # {client} {address} {port} {directory} are filled in
    connect_cluster: str
    accounts: Accounts


def names() -> list[str]:
    """List the datastores: the folders roles/datastore_*."""
    return paths.drop_ins("datastore")


@functools.cache
def describe(name: str) -> Datastore:
    """Give a datastore's description. Raises NotFound."""
    if name not in names():
        raise errors.NotFound(f"Datastore '{name}' cannot be found.", next_step="dbmod datastore-list")
    path = paths.role("datastore", name) / "datastore.yml"
    from dbmod import yaml_file  # 10 ms, and only some commands look here

    try:
        return msgspec.convert(yaml_file.read(path), Datastore)
    except msgspec.ValidationError as error:
        raise errors.BadInput(f"{path}: {error}") from error


def find_program(candidates: Sequence[str]) -> str | None:
    """Give the path of the first of these programs that is installed, also where PATH lacks the sbin directories."""
    search = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATH])
    return next((path for name in candidates if (path := shutil.which(name, path=search))), None)


def server_program(name: str) -> str:
    """Give the path of a datastore's server. Raises Refused, with the command that installs it."""
    datastore = describe(name)
    program = find_program(datastore.servers)
    if program is None:
        raise errors.Refused(
            f"{datastore.title} is not installed: no {' or '.join(datastore.servers)} on this machine",
            next_step=f"apt-get install {datastore.package}",
        )
    return program


@functools.cache
def versions(name: str) -> list[str]:
    """List the versions installed here, as the server itself says. Raises NotFound, Refused."""
    program = server_program(name)
    answer = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False, env={}
    )
    found = VERSION.search(answer.stdout)
    if found is None:
        raise errors.Refused(f"{program} --version does not tell its version", details={"exit": str(answer.returncode)})
    return [found[1]]


def version_id(name: str, version: str) -> str:
    return f"{name}-{version}"


def check_version(name: str, version: str | None) -> str:
    """Give the version to create: the one asked for by number or id, or the newest installed.

    Raises NotFound, Refused
    """
    installed = versions(name)
    if version is None:
        return installed[-1]
    for number in installed:
        if version in (number, version_id(name, number)):
            return number
    raise errors.NotFound(
        f"Datastore version '{version}' cannot be found.",
        details={"installed": f"{name} {', '.join(installed)}"},
        next_step=f"dbmod datastore-version-list {name}",
    )


def check_accounts(name: str, databases: Sequence[str], users: Sequence[tuple[str, str]]) -> None:
    """Refuse databases and users (name, password) that this datastore cannot make.

    Raises BadInput naming the database or user, never a password
    """
    datastore = describe(name)
    rules = datastore.accounts
    for kind, limit, asked in (
        ("database", rules.databases, list(databases)),
        ("user", rules.users, [user for user, _ in users]),
    ):
        if asked and not limit:
            raise errors.Refused(f"{datastore.title} has no {kind}s that could be created: {', '.join(asked)}")
        for one in asked:
            _check_account(kind, one, limit, rules.reserved)
        if len(set(asked)) < len(asked):
            raise errors.BadInput(f"a {kind} is named twice: {', '.join(asked)}")
    for user, password in users:
        if not password or len(password) > 255 or not password.isprintable():
            raise errors.BadInput(f"the password of {user} must be 1 to 255 printable characters")


def _check_account(kind: str, name: str, limit: int, reserved: Sequence[str]) -> None:
    if not ACCOUNT.match(name) or len(name) > limit:
        raise errors.BadInput(
            f"not a {kind} name: {name!r}",
            next_step=f"1 to {limit} letters, digits, `_`, `.` and `-`, beginning with a letter, a digit or `_`",
        )
    if name.lower() in reserved:
        raise errors.BadInput(f"the {kind} {name} belongs to the server itself")


def check_cluster(name: str, members: int) -> None:
    """Refuse a cluster of this many members where the datastore makes none, or needs more."""
    datastore = describe(name)
    if not datastore.cluster_minimum:
        raise errors.Refused(f"Clusters of datastore '{name}' are not supported.")
    if members < datastore.cluster_minimum:
        raise errors.Refused(
            f"a cluster of {datastore.title} needs at least {datastore.cluster_minimum} members, not {members}"
        )


def statements(name: str) -> Callable[[list[str], list[dict[str, str]]], str]:
    """Give the datastore's own function that writes what its client reads to make databases and users.

    It is roles/datastore_<name>/accounts.py, statements(databases, users) -> str; users are {"name", "password"}.
    """
    path = paths.role("datastore", name) / "accounts.py"
    specification = importlib.util.spec_from_file_location(f"dbmod_accounts_of_{name}", path)
    if specification is None or specification.loader is None:
        raise errors.InternalError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return cast("Callable[[list[str], list[dict[str, str]]], str]", cast("Any", module).statements)
