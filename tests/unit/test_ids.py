"""Ids."""

import uuid

from dbmod import ids, names


def test_an_id_is_a_random_uuid_of_version_4() -> None:
    made = [ids.new_id() for _ in range(500)]
    assert len(set(made)) == 500
    assert all(names.is_identifier(one) for one in made)
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in made} == {(4, uuid.RFC_4122)}
