"""Who sees what."""

import os
from pathlib import Path

import msgspec
import pytest

from dbmod import clock, errors, identity
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


def test_what_a_token_said_is_remembered_until_the_login_changes(
    quick_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text("clouds: {}\n")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds))
    settings = msgspec.structs.replace(quick_settings, identity="openstack", actor="me")
    remembered = identity.Remembered(
        login=identity.login_digest("", os.environ), tenant="p1", admin=False, expires_at=clock.now().timestamp() + 60
    )
    settings.home_path.mkdir(parents=True)
    (settings.home_path / identity.CACHE).write_bytes(msgspec.json.encode(remembered))
    assert identity.current(settings) == identity.Actor(name="me", tenant="p1", admin=False)
    os.utime(clouds, ns=(1, 1))
    with pytest.raises(errors.Refused, match="No OpenStack cloud is configured"):
        identity.current(settings)


def test_expired_token_is_no_answer(quick_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "/nonexistent")
    settings = msgspec.structs.replace(quick_settings, identity="openstack")
    old = identity.Remembered(
        login=identity.login_digest("", os.environ), tenant="p1", admin=True, expires_at=clock.now().timestamp() - 1
    )
    settings.home_path.mkdir(parents=True)
    (settings.home_path / identity.CACHE).write_bytes(msgspec.json.encode(old))
    with pytest.raises(errors.Refused, match="No OpenStack cloud is configured"):
        identity.current(settings)


def test_digest_of_a_login_holds_no_password_and_tells_tokens_apart() -> None:
    one = identity.login_digest("a", {"OS_USERNAME": "me", "OS_PASSWORD": "one"})
    assert one == identity.login_digest("a", {"OS_USERNAME": "me", "OS_PASSWORD": "two"})
    assert one != identity.login_digest("a", {"OS_USERNAME": "you"})
    assert one != identity.login_digest("b", {"OS_USERNAME": "me"})
    assert identity.login_digest("a", {"OS_TOKEN": "x"}) != identity.login_digest("a", {"OS_TOKEN": "y"})
