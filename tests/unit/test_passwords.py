"""The administrator's password of an instance: made once, known to dbmod alone, told to nobody by mistake."""

from collections.abc import Callable

import pytest

from dbmod import errors, passwords
from dbmod.context import Context
from tests import builders

Put = Callable[..., None]


def test_password_is_made_at_the_first_call_and_stays(here: Context) -> None:
    one = builders.instance("db-1")
    made = passwords.make(here.store, passwords.owner(one))
    assert len(made) == 2 * passwords.RANDOM_BYTES
    assert passwords.make(here.store, one.id) == made == passwords.read(here.store, one)
    assert passwords.make(here.store, builders.instance("db-2").id) != made


def test_members_share_their_clusters_password(here: Context) -> None:
    members = [builders.REPLACE(builders.instance(f"c-member-{number}"), cluster_id="c" * 36) for number in (1, 2)]
    made = passwords.make(here.store, passwords.owner(members[0]))
    assert {passwords.read(here.store, one) for one in members} == {made}


def test_unknown_password_says_what_to_do_next(here: Context) -> None:
    with pytest.raises(errors.Refused, match="does not know the administrator's password of 'db-1'") as refused:
        passwords.read(here.store, builders.instance("db-1"))
    assert "dbmod show db-1" in str(refused.value.next_step)


def test_password_lies_encrypted(here: Context) -> None:
    made = passwords.make(here.store, builders.instance("db-1").id)
    looked = [path for path in here.settings.home_path.rglob("*") if path.is_file()]
    assert looked
    assert not [path for path in looked if made.encode() in path.read_bytes()]
