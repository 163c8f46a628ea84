"""The fleet of a ledger as an inventory: what the asker may see, and when one that was kept is out of date."""

from pathlib import Path

import msgspec
import pytest

from dbmod import errors, fleet_inventory
from dbmod.context import Context
from tests import builders

KEY = "ssh-ed25519 AAAAC3Nz"


def fill(here: Context) -> None:
    ours, theirs = builders.instance("ours"), builders.instance("theirs", tenant="other", host_keys=(KEY,))
    twin = builders.instance("twin"), builders.instance("twin", tenant="other")
    seen = builders.module(name="seen")
    hidden = builders.module(name="hidden", visible=False)
    gone = builders.module(name="gone", deleted_at=builders.LATER)
    held = builders.module(name="held", deleted_at=builders.LATER)
    with here.store.transaction(holder="test") as tables:
        tables.put(ours, theirs, *twin, seen, hidden, gone, held)
        tables.put(builders.row(seen, ours), builders.row(seen, theirs), builders.row(held, ours))


def load(here: Context) -> fleet_inventory.Fleet:
    return fleet_inventory.load(here, here.store.snapshot())


def stamp(here: Context) -> str:
    return fleet_inventory.stamp(here, here.store.snapshot())


def test_an_admin_sees_the_whole_fleet(here: Context) -> None:
    fill(here)
    fleet = load(here)
    assert len(fleet.hosts) == 4
    assert fleet.groups["module_seen"] == ["ours", "theirs"]
    assert {"module_hidden", "module_held", "tenant_other"} <= fleet.groups.keys()
    assert "module_gone" not in fleet.groups


def test_a_tenant_sees_what_is_its_own_by_the_names_that_plans_use(here: Context) -> None:
    fill(here)
    fleet = load(builders.as_actor(here, builders.TENANT))
    assert "ours" in fleet.hosts
    assert not fleet.hosts.keys() & {"theirs", "twin"}
    assert len(fleet.hosts) == 2
    assert fleet.groups["module_seen"] == ["ours"]
    assert not fleet.groups.keys() & {"module_hidden", "tenant_other"}
    assert KEY in fleet.known_hosts  # of all: another tenant's playbook reads the same file


def test_what_was_kept_counts_until_the_ledger_the_settings_or_the_asker_change(here: Context) -> None:
    fill(here)
    text = fleet_inventory.to_text(load(here))
    assert fleet_inventory.from_text(text, stamp=stamp(here)) == load(here)
    for other in (
        builders.as_actor(here, builders.TENANT),
        msgspec.structs.replace(here, settings=msgspec.structs.replace(here.settings, ssh_private_key="/k")),
    ):
        assert fleet_inventory.from_text(text, stamp=stamp(other)) is None
    with here.store.transaction(holder="test") as tables:
        tables.put(builders.instance("new"))
    assert fleet_inventory.from_text(text, stamp=stamp(here)) is None


@pytest.mark.parametrize("text", [None, "", "[]", '{"stamp": "s"}', '{"stamp": "s", "hosts": []}'])
def test_what_a_cache_gives_that_is_no_fleet_is_passed_over(text: object) -> None:
    assert fleet_inventory.from_text(text, stamp="s") is None


def test_known_hosts_are_written_where_they_differ_and_are_private(here: Context) -> None:
    file = here.settings.home_path / "known_hosts"
    fleet_inventory.write_known_hosts(here.settings, "")
    assert not file.exists()
    for text in ("one ssh-ed25519 A\n", "one ssh-ed25519 B\n"):
        fleet_inventory.write_known_hosts(here.settings, text)
        assert (file.read_text(), file.stat().st_mode & 0o777) == (text, 0o600)
    before = file.stat().st_ino
    fleet_inventory.write_known_hosts(here.settings, text)
    assert file.stat().st_ino == before
    assert [path.name for path in file.parent.glob("known_hosts*")] == ["known_hosts"]


def test_a_home_that_cannot_be_written_is_named(here: Context, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = msgspec.structs.replace(here.settings, home=str(tmp_path / "file" / "home"))
    with pytest.raises(errors.LedgerUnwritable, match=r"file/home/known_hosts cannot be written"):
        fleet_inventory.write_known_hosts(settings, "one ssh-ed25519 A\n")
