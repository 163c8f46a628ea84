"""The fleet and the cloud compared."""

import msgspec
import pytest

from dbmod import audit, cloud_machines, ids
from dbmod.cloud_machines import Thing
from dbmod.records import Instance
from tests import builders

LEDGER = ids.new_id()


def living() -> Instance:
    one = builders.instance(name="red")
    return msgspec.structs.replace(one, provider="openstack", server_id="s1", volume_id="v1", region="Here")


def of(one: Instance) -> list[Thing]:
    return [
        Thing(kind="server", id="s1", name="dbmod-x", status="ACTIVE", instance=one.id),
        Thing(kind="volume", id="v1", name="dbmod-x", status="in-use", instance=one.id),
        Thing(kind="port", id="p1", name="dbmod-x", instance=one.id),
        Thing(kind="keypair", id="k1", name="dbmod-k", owner="k"),
        Thing(kind="security group", id="g1", name="dbmod-g", owner="redis"),
    ]


def findings(things: list[Thing], fleet: list[Instance], busy: set[str] | None = None) -> list[tuple[str, str, str]]:
    found = audit.compare(things, fleet, busy=busy or set(), region="Here")
    return [(one.kind, one.id, one.finding) for one in found]


def test_nothing_is_found_where_both_agree() -> None:
    red = living()
    assert findings(of(red), [red]) == []


def test_everything_of_an_instance_that_is_gone_is_a_stranger() -> None:
    found = findings(of(living()), [])
    assert [kind for kind, _, finding in found if finding == audit.STRANGE] == ["server", "volume", "port"]
    assert [kind for kind, _, finding in found if finding == audit.UNUSED] == ["keypair", "security group"]


def test_server_and_volume_that_are_gone_are_told_and_a_stopped_one_too() -> None:
    red = living()
    assert findings([one for one in of(red) if one.kind not in ("server", "volume")], [red]) == [
        ("instance", red.id, "its server is gone"),
        ("instance", red.id, "its volume is gone"),
    ]
    stopped = [msgspec.structs.replace(one, status="SHUTOFF") for one in of(red)]
    assert findings(stopped, [red]) == [("instance", red.id, "its server is SHUTOFF")]


def test_second_server_of_an_instance_is_told_and_never_removed() -> None:
    red = living()
    second = Thing(kind="server", id="s2", name="dbmod-x", status="ACTIVE", instance=red.id)
    found = audit.compare([*of(red), second], [red], busy=set(), region="Here")
    assert [(one.id, one.finding) for one in found] == [("s2", "red has another server")]
    assert audit.removable(found) == []


def test_instance_that_a_run_changes_is_left_alone() -> None:
    red = living()
    assert findings([], [red], busy={red.id}) == []


def test_only_what_is_nobody_s_is_removable() -> None:
    red = living()
    found = audit.compare(of(red), [], busy=set(), region="Here")
    assert audit.removable(found) == found
    gone = audit.compare([], [red], busy=set(), region="Here")
    assert audit.removable(gone) == []


@pytest.mark.parametrize(
    ("pairs", "unused"),
    [
        ([], {"group-of-c", "group-of-i", "keypair", "security group"}),
        ([("i", None)], {"group-of-c"}),
        ([("m", "c")], {"group-of-i"}),
    ],
)
def test_shared_things_go_with_the_last_who_needs_them(pairs: list[tuple[str, str | None]], unused: set[str]) -> None:
    things = [
        Thing(kind="server group", id="group-of-c", name="", owner="c"),
        Thing(kind="server group", id="group-of-i", name="", owner="i"),
        Thing(kind="keypair", id="keypair", name="", owner="f"),
        Thing(kind="security group", id="security group", name="", owner="redis"),
        Thing(kind="server", id="server", name="", instance="i"),
    ]
    assert {one.id for one in cloud_machines.unused(things, pairs)} == unused
