"""The command and the playbooks on a ledger in PostgreSQL: nothing shows its password; a server that goes away."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbmod.records import Run
from tests import postgresql
from tests.end_to_end import canaries
from tests.end_to_end.sites import Ended, Site
from tests.postgresql import PASSWORD, QUOTED, Server

MakeSite = Callable[..., Site]
PLAIN = canaries.Canary("the ledger's password", PASSWORD)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Server]:
    with postgresql.server() as one:
        yield one
