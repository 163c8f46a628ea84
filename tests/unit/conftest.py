"""A ledger in a fresh directory, and who works on it."""

import os
from collections.abc import Callable

import msgspec
import pytest

from dbmod import store
from dbmod.config import Settings
from dbmod.identity import Actor
from dbmod.operations import Context
from dbmod.records import Record
from dbmod.store.interface import Store

ADMIN = Actor(name="ada", tenant="default", admin=True)
TENANT = Actor(name="tom", tenant="default", admin=False)
STRANGER = Actor(name="sue", tenant="other", admin=False)


@pytest.fixture
def empty_ledger(settings: Settings) -> Store:
    return store.open(settings)


@pytest.fixture
def here(settings: Settings, empty_ledger: Store) -> Context:
    """What operations need, for an admin. Local servers would go where users of their own can walk to."""
    reachable = msgspec.structs.replace(settings, local_directory=f"/tmp/dbmod-unit-{os.getpid()}")
    return Context(store=empty_ledger, settings=reachable, actor=ADMIN)


@pytest.fixture
def put(empty_ledger: Store) -> Callable[..., None]:
    """Write records into the ledger."""

    def put_all(*records: Record) -> None:
        with empty_ledger.transaction(holder="a test") as tables:
            tables.put(*records)

    return put_all


def as_actor(context: Context, actor: Actor) -> Context:
    return msgspec.structs.replace(context, actor=actor)
