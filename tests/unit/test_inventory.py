"""From the fleet to an inventory: nothing that a user wrote may become a variable."""

import json

import pytest

from dbmod import errors, inventory, names
from tests import builders

HOSTILE = "{{ lookup('pipe', 'touch CANARY') }}"


def test_a_host_has_its_own_name_where_that_is_plain_and_unique_and_else_its_id() -> None:
    plain = builders.instance("db-7")
    twins = [builders.instance("twin"), builders.instance("twin")]
    odd = [builders.instance(name) for name in ("my db", HOSTILE, "-rf", "all", "localhost", "ungrouped", "ü")]
    gone = builders.instance("free", deleted_at=builders.LATER)
    again = builders.instance("free")
    found = inventory.host_names([plain, *twins, *odd, gone, again])
    assert found[plain.id] == "db-7"
    assert found[again.id] == "free"
    assert gone.id not in found
    assert all(found[one.id] == one.id for one in (*twins, *odd))


def test_an_adopted_host_keeps_the_name_that_the_users_inventory_knows() -> None:
    adopted = builders.instance("renamed", provider_facts={"inventory": "/etc/hosts.ini", "inventory_host": "db-9"})
    assert inventory.host_names([adopted]) == {adopted.id: "db-9"}


def test_an_instance_that_is_named_by_the_id_of_another_does_not_take_its_place() -> None:
    victim = builders.instance("not plain")
    thief = builders.instance(victim.id)
    found = inventory.host_names([victim, thief])
    assert found == {victim.id: victim.id, thief.id: thief.id}


def test_the_variables_are_those_that_roles_declare() -> None:
    instance = builders.instance(
        port=16000, provider_facts={"directory": "/d", "uid": 216000}, cluster_id=builders.cluster().id
    )
    assert inventory.variables(instance) == {
        "dbmod_id": instance.id,
        "dbmod_provider": "local",
        "dbmod_datastore": "redis",
        "dbmod_datastore_version": "7.0.15",
        "dbmod_servers": {
            "redis-server": {"account": "redis", "unit": "redis-server"},
            "valkey-server": {"account": "valkey", "unit": "valkey-server"},
        },
        "dbmod_account": "redis",
        "dbmod_unit": "redis-server",
        "dbmod_installs": False,
        "dbmod_address": "127.0.0.1",
        "dbmod_port": 16000,
        "dbmod_flavor": "15",
        "dbmod_memory_mib": 512,
        "dbmod_vcpus": 1,
        "dbmod_volume_gb": 1,
        "dbmod_cluster": instance.cluster_id,
        "dbmod_directory": "/d",
        "dbmod_uid": 216000,
        "dbmod_gid": 216000,
        "dbmod_facts": {"directory": "/d", "uid": 216000},
        "dbmod_host_home": "/d",
    }


def test_what_is_unknown_is_absent_and_a_host_keeps_its_home_in_var_lib() -> None:
    bare = builders.instance(port=None, address=None, ram_mib=None, vcpus=None)
    found = inventory.variables(bare)
    assert found["dbmod_host_home"] == "/var/lib/dbmod"
    assert not found.keys() & {
        "dbmod_port",
        "dbmod_address",
        "dbmod_memory_mib",
        "dbmod_vcpus",
        "dbmod_cluster",
        "dbmod_uid",
    }


def test_nothing_that_a_user_wrote_is_in_an_inventory() -> None:
    instance = builders.instance(
        HOSTILE, tenant=HOSTILE, volume_type=HOSTILE, region=HOSTILE, availability_zone=HOSTILE, locality=HOSTILE,
        fault=HOSTILE, nics=(HOSTILE,),
    )  # fmt: skip
    data = inventory.build(
        [instance],
        host_names=inventory.host_names([instance]),
        connections={instance.id: {"ansible_connection": "local"}},
    )
    (host,) = data["all"]["hosts"]
    assert names.is_identifier(host)
    assert data["all"]["hosts"][host]["ansible_connection"] == "local"
    assert "{{" not in json.dumps(data)


@pytest.mark.parametrize("value", [HOSTILE, "{% x %}", "{# x #}", "a\nb"])
def test_a_value_that_ansible_would_execute_is_refused_at_the_last_door(value: str) -> None:
    for changes in (
        {"restart_command": ("systemctl", value)},
        {"provider_facts": {"user": value}},
        {"address": value},
        {"datastore_version": value},
        {"provider_facts": {"directory": value}},
    ):
        with pytest.raises(errors.BadInput, match="Ansible would execute"):
            inventory.variables(builders.instance(**changes))


def test_a_server_listens_where_its_machine_is_and_not_where_it_is_reached() -> None:
    one = builders.instance(address="203.0.113.7", provider_facts={"fixed_address": "10.0.0.7"})
    assert inventory.variables(one)["dbmod_address"] == "10.0.0.7"
