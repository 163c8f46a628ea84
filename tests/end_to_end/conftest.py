"""Sites for end-to-end tests; after every test the checker compares the ledger with all hosts."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbmod import ledger, vault
from dbmod.store import durable
from tests.end_to_end.sites import Site
from tests.faults import failpoints
from tests.postgresql import Server

MakeSite = Callable[..., Site]


@pytest.fixture
def make_site() -> Iterator[MakeSite]:
    """Make sites; at the end each is checked, nothing of it runs on, and it is removed."""
    made: list[Site] = []
    # As root every server has a user of its own, who has to get in: pytest's own directories are closed.
    directory = Path(tempfile.mkdtemp(prefix="dbmod-site-"))
    directory.chmod(0o711)

    def make(template: Site | None = None, **environment: str) -> Site:
        place = directory / str(len(made))
        made.append(template.copy(place) if template else Site(place, **environment))
        return made[-1]

    try:
        yield make
        for site in made:
            left = failpoints.processes(site.home)
            ledger.sweep(site.context.store)  # what the next command would do
            assert (site.problems(), left) == ([], {})
    finally:
        for site in made:
            site.close()
        shutil.rmtree(directory)


@pytest.fixture
def team_site(make_site: MakeSite, postgresql: Server, database: str) -> Site:
    """An empty site whose ledger is in PostgreSQL; a file of its own names it, and its key is in its home."""
    site = make_site(DBMOD_ADMIN="true")
    address = site.directory / "address"
    durable.write_file(address, postgresql.address(database).encode())
    site.environment["DBMOD_LEDGER"] = str(address)
    vault.write_key_file(site.settings, [vault.new_key()])
    return site


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """An empty site."""
    return make_site()
