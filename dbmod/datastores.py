"""What can be created: the datastores that have a role, and the versions of them that are installed here."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from dbmod import errors, paths

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"  # a user's PATH on Debian lacks the sbin
VERSION = re.compile(r"(?:\bVer |\bv=|\(PostgreSQL\) )(\d+(?:\.\d+)+)")
VERSION_SECONDS = 10
ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


class Accounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which accounts a datastore makes when an instance is created.

    databases, users     longest name; 0: the datastore has no such thing
    reserved             names that belong to the server
    reserved_beginnings  so do all that begin with one of these
    """

    databases: int
    users: int
    reserved: tuple[str, ...]
    reserved_beginnings: tuple[str, ...] = ()


class Connect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands that open a client; {client} {address} {port} {directory} {instance} {cluster} are filled in."""

    here: str  # where the server runs on this machine
    remote: str
    adopted: str  # dbmod knows no password of it


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program that serves a datastore."""

    account: str  # whom its package makes for it
    unit: str  # the usual name of its service under systemd


class Datastore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """roles/datastore_<name>/datastore.yml."""

    title: str
    servers: dict[str, Server]  # by program, the first that is installed is taken
    clients: tuple[str, ...]
    directories: tuple[str, ...] = ()  # where they lie besides PATH; of `*` the highest number is taken
    package: str  # what apt installs them with
    account_required: bool = False  # the server runs as nobody who has no account
    port: int  # the usual one; local instances get one of their own
    further_ports: tuple[int, ...]  # what else an instance listens on, as distance from its port
    cluster_minimum: int  # fewest members of a cluster; 0: it makes no clusters
    memory_minimum_mib: int
    connect: Connect
    connect_cluster_option: str = ""  # {cluster}, where the instance is a member of one
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


def find_program(candidates: Sequence[str], directories: Sequence[str] = ()) -> str | None:
    """Give the path of the first of these programs that is installed, also where PATH lacks the sbin directories.

    directories  where to look first, as in class Datastore
    """
    own = [place for pattern in directories for place in sorted(_matching(pattern), key=_numbers, reverse=True)]
    search = os.pathsep.join([*own, os.environ.get("PATH", ""), SYSTEM_PATH])
    return next((path for name in candidates if (path := shutil.which(name, path=search))), None)


def _matching(pattern: str) -> list[str]:
    return [str(path) for path in Path("/").glob(pattern.lstrip("/"))]


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


def server_program(name: str) -> str:
    """Give the path of a datastore's server. Raises Refused, with the command that installs it."""
    datastore = describe(name)
    program = find_program([*datastore.servers], datastore.directories)
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


def choose_version(name: str, version: str | None, known: Sequence[str]) -> str:
    """Give the one asked for by number or id, or the newest.

    known   the versions there are, the newest last
    Raises  NotFound
    """
    if version is None and known:
        return known[-1]
    for number in known:
        if version in (number, version_id(name, number)):
            return number
    raise errors.NotFound(
        f"Datastore version '{version}' cannot be found.",
        details={"known": f"{name} {', '.join(known)}"},
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
            _check_account(kind, one, limit, rules)
        if len(set(asked)) < len(asked):
            raise errors.BadInput(f"a {kind} is named twice: {', '.join(asked)}")
    for user, password in users:
        if not password or len(password) > 255 or not password.isprintable():
            raise errors.BadInput(f"the password of {user} must be 1 to 255 printable characters")


def _check_account(kind: str, name: str, limit: int, rules: Accounts) -> None:
    if not ACCOUNT.match(name) or len(name) > limit:
        raise errors.BadInput(
            f"not a {kind} name: {name!r}",
            next_step=f"1 to {limit} letters, digits, `_`, `.` and `-`, beginning with a letter, a digit or `_`",
        )
    if name.lower() in rules.reserved or name.lower().startswith(rules.reserved_beginnings):
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
    module = cast("Any", paths.load(paths.role("datastore", name) / "accounts.py"))
    return cast("Callable[[list[str], list[dict[str, str]]], str]", module.statements)
