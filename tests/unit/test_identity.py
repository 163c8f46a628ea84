"""Who sees what."""

import pytest

from dbmod import identity
from dbmod.config import Settings
from tests import builders
from tests.builders import ADMIN, STRANGER, TENANT


@pytest.mark.parametrize(
    ("tenant", "visible", "seen"),
    [
        ("default", True, (True, True, False)),
        ("default", False, (True, False, False)),
        (None, True, (True, True, True)),
        (None, False, (True, False, False)),
        ("other", True, (True, False, True)),
    ],
)
def test_an_admin_sees_all_and_a_tenant_the_visible_ones_of_its_own_or_of_all(
    tenant: str | None, visible: bool, seen: tuple[bool, ...]
) -> None:
    module = builders.module(tenant=tenant, visible=visible)
    assert tuple(identity.sees(actor, module) for actor in (ADMIN, TENANT, STRANGER)) == seen


def test_the_actor_comes_from_the_settings() -> None:
    settings = Settings(actor="job 7", tenant="blue", admin=False)
    assert identity.current(settings) == identity.Actor(name="job 7", tenant="blue", admin=False)
