"""A ledger in a fresh directory, and who works on it."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from dbmod import store
from dbmod.config import Settings
from dbmod.context import Context
from dbmod.records import Record
from dbmod.store.interface import Store
from tests.builders import ADMIN


@pytest.fixture
def quick_settings(settings: Settings) -> Iterator[Settings]:
    """Settings whose home is in memory where the machine has such a place: these tests are not about disks.

    Local servers would go where users of their own can walk to; no test here starts one.
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="dbmod-unit-", dir=memory if memory.is_dir() else None) as directory:
        local = f"/tmp/dbmod-unit-{os.getpid()}"
        yield msgspec.structs.replace(settings, home=f"{directory}/home", local_directory=local)


@pytest.fixture
def empty_ledger(quick_settings: Settings) -> Store:
    return store.open(quick_settings)


@pytest.fixture
def here(quick_settings: Settings, empty_ledger: Store) -> Context:
    """What operations need, for an admin."""
    return Context(store=empty_ledger, settings=quick_settings, actor=ADMIN)


@pytest.fixture
def put(empty_ledger: Store) -> Callable[..., None]:
    """Write records into the ledger."""

    def put_all(*records: Record) -> None:
        with empty_ledger.transaction(holder="a test") as tables:
            tables.put(*records)

    return put_all
