"""Planning to adopt, recording what hosts said, releasing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dbmod import (
    adopted,
    adoption,
    connections,
    errors,
    fleet,
    inventory,
    ledger,
    run_directory,
    user_inventory,
)
from dbmod.adoption import Request
from dbmod.context import Context
from dbmod.records import Attempt, Cluster, Instance, Row, Run
from dbmod.selection import Selection, select
from dbmod.survey import Told
from tests import builders

Put = Callable[..., None]
FACTS: dict[str, Any] = {
    "address": "10.0.0.7",
    "datastore_version": "7.0.15",
    "host_keys": ["ssh-ed25519 AAAA"],
    "port": 6379,
    "ram_mib": 2000,
    "vcpus": 2,
    "volume_gb": 20,
    "restart_command": ("systemctl", "restart", "redis-server.service"),
    "provider_facts": {"listens_on": "127.0.0.1"},
}
ONE = Request(datastore="redis", name="db-7", host="10.0.0.7", user="admin", accept_host_key=True)


def asked(**changes: Any) -> Request:
    return msgspec.structs.replace(ONE, **changes)


def told(instance: Instance, **changes: Any) -> Told:
    return msgspec.structs.replace(Told(instance=instance.id, state="ok", facts=FACTS), **changes)


def living(here: Context) -> list[Instance]:
    return here.store.snapshot().find(Instance, deleted_at=None)


def record(here: Context, run: Run, *every: Told) -> list[Attempt]:
    with here.transaction("test") as tables:
        closed = adopted.record(tables, run, {one.instance: one for one in every})
        ledger.close(tables, run.id)
    return closed


def adopt(here: Context, request: Request = ONE, **changes: Any) -> Instance:
    """Adopt a host whose look gives FACTS."""
    run, _ = adoption.plan(here, request)
    [claim] = here.store.snapshot().find(Attempt, run_id=run.id)
    [one] = [one for one in living(here) if one.id == claim.instance_id]
    record(here, run, told(one, **changes))
    return next(found for found in living(here) if found.id == one.id)


def test_new_host_is_in_build_until_its_host_has_spoken(here: Context) -> None:
    run, gone = adoption.plan(here, ONE)
    [one] = living(here)
    assert (one.status, one.provider, one.datastore_version, gone) == ("BUILD", "ssh", "", [])
    assert one.provider_facts == {"ssh_port": 22, "become": 1, "user": "admin"}
    [closed] = record(here, run, told(one))
    [after] = living(here)
    assert (closed.state, closed.message, closed.changed) == ("ok", "adopted", True)
    assert (after.status, after.port, after.address, after.volume_gb) == ("ACTIVE", 6379, "10.0.0.7", 20)
    assert after.built_at is not None
    assert after.provider_facts == one.provider_facts | {"listens_on": "127.0.0.1"}


@pytest.mark.parametrize("state", ["error", "unreachable"])
def test_host_that_failed_leaves_no_instance_and_its_reason(here: Context, state: Any) -> None:
    run, _ = adoption.plan(here, ONE)
    [one] = living(here)
    [closed] = record(here, run, told(one, state=state, message="no redis runs there"))
    assert living(here) == []
    assert (closed.state, closed.message) == (state, "no redis runs there")
    gone = here.store.snapshot().get(Instance, one.id)
    assert gone is not None
    assert (gone.status, gone.fault) == ("DELETED", "no redis runs there")
    assert ledger.exit_code([closed]) == (4 if state == "unreachable" else 1)


def test_host_that_said_nothing_is_unreachable(here: Context) -> None:
    run, _ = adoption.plan(here, ONE)
    [closed] = record(here, run)
    assert (closed.state, closed.message) == ("unreachable", adopted.LOST)


def test_run_that_was_lost_leaves_nothing_in_build(here: Context) -> None:
    run, _ = adoption.plan(here, ONE)
    with here.transaction("test") as tables:
        ledger.lose(tables, run)
    assert living(here) == []


def test_known_host_stays_as_it_is_when_it_fails(here: Context) -> None:
    before = adopt(here)
    run, _ = adoption.plan(here, ONE)
    record(here, run, told(before, state="unreachable", message="no answer in time"))
    assert living(here) == [before]


def test_another_login_counts_once_the_host_has_answered(here: Context) -> None:
    before = adopt(here)
    run, _ = adoption.plan(here, asked(user="root", become=False))
    [reached] = run_directory.hosts_of(here, run).values()
    assert (reached.provider_facts["user"], reached.provider_facts["become"]) == ("root", 0)
    record(here, run, told(before, state="unreachable", message="the login was refused"))
    assert living(here) == [before]
    after = adopt(here, asked(user="root", become=False))
    assert (after.provider_facts["user"], after.provider_facts["listens_on"]) == ("root", "127.0.0.1")
    assert adopt(here, asked(user="root")).provider_facts["become"] == 0  # what is not said again stays


def test_inventory_that_moved_names_the_same_hosts_and_a_copy_does_not(here: Context, tmp_path: Path) -> None:
    first, second, copy = (tmp_path / name for name in ("first.ini", "second.ini", "copy.ini"))
    first.write_text("[db]\ndb-7 ansible_host=10.0.0.7\n")
    before = adopt(here, Request(datastore="redis", inventory=str(first), group="db"))
    first.rename(second)
    copy.write_bytes(second.read_bytes())
    after = adopt(here, Request(datastore="redis", inventory=str(second), group="db"))
    assert (after.id, after.provider_facts["inventory"]) == (before.id, str(second))
    with pytest.raises(errors.Refused, match="Other instances are called so already: db-7") as refused:
        adoption.plan(here, Request(datastore="redis", inventory=str(copy), group="db"))
    assert f"adopt them from {second}" in str(refused.value.next_step)


def test_adopting_again_says_what_changed(here: Context) -> None:
    before = adopt(here)
    run, _ = adoption.plan(here, ONE)
    [same] = record(here, run, told(before))
    assert (same.message, same.changed) == ("as before", False)
    run, _ = adoption.plan(here, ONE)
    newer = FACTS | {"datastore_version": "7.2.4", "host_keys": ["ssh-ed25519 BBBB"]}
    [changed] = record(here, run, told(before, facts=newer))
    assert changed.message == "datastore_version: 7.0.15 → 7.2.4; host keys changed"
    assert living(here)[0].updated_at > before.updated_at


def test_adopting_again_makes_one_that_failed_active_and_says_so(here: Context, put: Put) -> None:
    before = adopt(here)
    put(msgspec.structs.replace(before, status="ERROR", fault="it did not restart"))
    run, _ = adoption.plan(here, ONE)
    [closed] = record(here, run, told(before))
    [after] = living(here)
    assert (closed.message, after.status, after.fault) == ("status: ERROR → ACTIVE", "ACTIVE", "")


def test_host_of_another_tenant_is_not_taken_over(here: Context) -> None:
    before = adopt(here)
    with pytest.raises(errors.Refused, match="called so already: db-7"):
        adoption.plan(builders.as_actor(here, builders.STRANGER), ONE)
    assert living(here) == [before]


def test_two_servers_on_one_host_are_two_instances(here: Context) -> None:
    first = adopt(here)
    second = adopt(here, asked(name="db-7b", port=6380), facts=FACTS | {"port": 6380})
    assert first.id != second.id
    assert adopt(here, asked(name="other", port=6380), facts=FACTS | {"port": 6380}).id == second.id


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"name": "db-7", "host": "10.0.0.8"}, "Other instances are called so already: db-7"),
        ({"host": "10.0.0.8; id", "name": "x"}, "--host '10.0.0.8; id' is not plain"),
        ({"user": "{{ x }}", "name": "x"}, "--user '{{ x }}' is not plain"),
        ({"datastore": "nosuch", "name": "x"}, "Datastore 'nosuch' cannot be found"),
        ({"private_key": "/gone", "name": "x"}, "There is no private key /gone"),
        ({"datastore": "mysql"}, "In the fleet as redis already: db-7"),
        ({"name": "a/b"}, "The name 'a/b' is not valid"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    here: Context, changes: dict[str, Any], what: str
) -> None:
    adopt(here)
    before = here.store.snapshot().find(Run)
    with pytest.raises(errors.BadInput) as refused:
        adoption.plan(here, asked(**changes))
    assert what in str(refused.value)
    assert here.store.snapshot().find(Run) == before


def test_hosts_with_one_value_are_a_cluster_which_ends_with_its_last_member(here: Context) -> None:
    one = adopt(here, cluster="east")
    two = adopt(here, asked(name="db-8", host="10.0.0.8"), facts=FACTS | {"address": "10.0.0.8"}, cluster="east")
    [cluster] = here.store.snapshot().find(Cluster, deleted_at=None)
    assert (cluster.name, cluster.provider, {one.cluster_id, two.cluster_id}) == ("east", "ssh", {cluster.id})
    for refused in (lambda: fleet.plan_cluster_delete(here, "east"), lambda: fleet.plan_delete(here, "db-7")):
        with pytest.raises(errors.Refused, match="was adopted, so dbmod does not delete its server"):
            refused()
    adoption.release(here, [one])
    assert here.store.snapshot().find(Cluster, deleted_at=None) == [cluster]
    adoption.release(here, adoption.members(here, [], "east"))
    assert here.store.snapshot().find(Cluster, deleted_at=None) == []


def test_cluster_that_dbmod_made_takes_no_adopted_members(here: Context, put: Put) -> None:
    put(builders.cluster("east"))
    run, _ = adoption.plan(here, ONE)
    [one] = living(here)
    [closed] = record(here, run, told(one, cluster="east"))
    assert (closed.state, closed.message) == ("error", "the cluster 'east' is there already, as redis of local")


def test_release_closes_rows_and_keeps_what_is_not_adopted(here: Context, put: Put) -> None:
    one, module = adopt(here), builders.module()
    local = builders.instance("local-1")
    put(module, local, builders.row(module, one))
    with pytest.raises(errors.Refused, match="was not adopted: dbmod made its server"):
        adoption.release(here, [one, local])
    adoption.release(here, [one])
    assert [found.name for found in living(here)] == ["local-1"]
    [row] = here.store.snapshot().find(Row)
    assert (row.held, row.removed_at is not None) == (None, True)


def test_new_host_key_is_planned_for_hosts_reached_by_ssh_alone(here: Context, put: Put) -> None:
    one = adopt(here)
    _, run = adoption.plan_host_key(here, "db-7")
    record(here, run, told(one, facts={"host_keys": ["ssh-ed25519 CCCC"]}))
    [after] = living(here)
    assert (after.host_keys, after.port, after.status) == (("ssh-ed25519 CCCC",), one.port, "ACTIVE")
    put(builders.instance("local-1"))
    with pytest.raises(errors.Refused, match="is not reached by SSH"):
        adoption.plan_host_key(here, "local-1")


def test_restart_needs_a_command(here: Context) -> None:
    adopt(here, facts=FACTS | {"restart_command": ()})
    with pytest.raises(errors.Refused, match="No restart command of instance 'db-7' is known"):
        fleet.plan_restart(here, "db-7")


def from_inventory(name: str, **facts: str | int) -> Instance:
    known = {"inventory": "/i.yml", "inventory_host": name, "group": "hosts"}
    return builders.instance(name, provider="ssh", host_keys=("ssh-ed25519 AAAA",), provider_facts=known | facts)


def test_adopted_host_keeps_its_name_in_inventories_whatever_others_are_called() -> None:
    theirs, ours = from_inventory("db-1"), builders.instance("db-1")
    renamed = msgspec.structs.replace(from_inventory("db-2"), name="shop")
    assert inventory.host_names([theirs, ours, renamed]) == {theirs.id: "db-1", ours.id: ours.id, renamed.id: "db-2"}


def test_words_of_a_limit_that_name_no_instance_are_groups(here: Context, put: Put) -> None:
    one, two = from_inventory("db-1"), from_inventory("db-2")
    put(one, two, builders.instance("local-1"))
    asked_for = []

    def hosts(path: Path, word: str) -> list[str]:
        asked_for.append((str(path), word))
        return {"shop": ["db-1", "db-2", "db-9"], "old": ["db-2"]}.get(word, [])

    def chosen(limit: str) -> list[str]:
        selection = user_inventory.with_groups(here, Selection(limit=limit), hosts)
        return [one.name for one in select(here.store.snapshot(), selection, actor=here.actor)]

    assert chosen("shop,!old") == ["db-1"]
    assert chosen("shop,local-1,!db-1") == ["db-2", "local-1"]
    assert chosen("db-*") == ["db-1", "db-2"]
    assert chosen("nosuch") == []
    assert set(asked_for) == {("/i.yml", "shop"), ("/i.yml", "old"), ("/i.yml", "nosuch")}


def test_servers_of_this_machine_never_use_sudo_that_an_inventory_asks_of_all_its_hosts(here: Context) -> None:
    local = builders.instance()
    told = connections.variables([local], here.settings, known_hosts_file=Path("/run/known_hosts"))
    assert (told[local.id]["ansible_connection"], told[local.id]["ansible_become"]) == ("local", False)


def test_the_configured_key_is_found_from_any_directory(
    here: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = msgspec.structs.replace(here.settings, ssh_private_key="keys/id")
    adopted = builders.instance(provider="ssh", address="db-1")
    told = connections.variables([adopted], settings, known_hosts_file=Path("/run/known_hosts"))
    assert told[adopted.id]["ansible_ssh_private_key_file"] == str(tmp_path / "keys/id")


def test_ssh_checks_the_fleet_s_keys_but_for_hosts_that_it_meets(here: Context) -> None:
    known, new = from_inventory("db-1"), msgspec.structs.replace(from_inventory("db-2"), host_keys=())
    file = Path("/run/known_hosts")

    def ssh_args(run: Run | None) -> list[str]:
        told = connections.variables([known, new], here.settings, known_hosts_file=file, adopting=run)
        return [told[one.id]["ansible_ssh_args"] for one in (known, new)]

    strict = f"-o HostKeyAlias={known.id} -o UserKnownHostsFile=/run/known_hosts -o GlobalKnownHostsFile=none "
    assert all("-o StrictHostKeyChecking=yes" in one for one in ssh_args(None))
    old, first = ssh_args(builders.run(verb="adopt", options={}))
    assert (old.startswith(strict), first.startswith("-o StrictHostKeyChecking=yes -o UpdateHostKeys=no")) == (
        True,
        True,
    )
    old, first = ssh_args(builders.run(verb="adopt", options={"accept_host_key": True}))
    assert (old.startswith(strict), "UserKnownHostsFile=/run/known_hosts.accepted " in first) == (True, True)
    renewed, _ = ssh_args(builders.run(verb="adopt", options={"accept_host_key": True, "host_keys_only": True}))
    assert "-o StrictHostKeyChecking=accept-new" in renewed
    assert all("-o ControlPath=none" in one for one in (old, first, renewed))
