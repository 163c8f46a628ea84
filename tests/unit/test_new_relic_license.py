"""The type new_relic_license: what it does to a file's text. With an agent: integration/test_hostside_faults.py."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dbmod import config, module_types
from dbmod.hostside import dbmod_kit as kit
from tests import hosts

TYPE = module_types.find(config.Settings(), "new_relic_license")
LICENSE = module_types.functions(TYPE)
NAMES = LICENSE.apply.__globals__


def test_it_declares_what_the_specification_says() -> None:
    assert TYPE.declares == kit.Declares(("root", "systemd"), "host", True, False, ("license_key",), ())


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "'license_key' not found in contents file"),
        (b"license=1\n", "'license_key' not found in contents file"),
        (b"nothing\n", "New Relic license key not installed: line 1 has no '='"),
        (
            b"license_key=\n",
            "New Relic license key not installed: the key must have 8 to 128 letters of ASCII, digits, _ and -",
        ),
        (
            b"license_key=abcdefgh\rlog: x\n",
            "New Relic license key not installed: the key must have 8 to 128 letters of ASCII, digits, _ and -",
        ),
    ],
)
def test_bad_contents_are_refused_without_quoting_them(contents: bytes, message: str) -> None:
    with pytest.raises(kit.Refused) as refusal:
        LICENSE.validate(contents)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"license_key: K\n"),
        (b"a: 1", b"a: 1\nlicense_key: K\n"),
        (b"a: 1\nlicense_key: old\nb: 2\n", b"a: 1\nlicense_key: K\nb: 2\n"),
        (b"license_key: >\n  old\n  and more\nb: 2\n", b"license_key: K\nb: 2\n"),
        (b"'license_key' : old\nb:\n  license_key: theirs\n", b"license_key: K\nb:\n  license_key: theirs\n"),
        (b"license_key: one\nb: 2\nlicense_key: two\n", b"license_key: K\nb: 2\n"),
        (b"license_key: 'a\n\n  b'\n\nb: 2\n", b"license_key: K\n\nb: 2\n"),
        (b"# license_key: no\nlicense_key_file: x\n", b"# license_key: no\nlicense_key_file: x\nlicense_key: K\n"),
    ],
)
def test_with_key_changes_only_the_key(before: bytes, after: bytes) -> None:
    assert NAMES["with_key"](before, "K") == after
    assert NAMES["with_key"](after, "K") == after


@given(
    st.dictionaries(
        st.sampled_from(["a", "license_key", "log", "license"]),
        st.recursive(
            st.integers() | st.text("abc: \n#'", max_size=12), lambda inner: st.dictionaries(st.just("x"), inner)
        ),
    )
)
def test_the_rest_of_the_file_keeps_its_meaning(settings: dict[str, object]) -> None:
    text = yaml.safe_dump(settings, sort_keys=False, indent=4).encode() if settings else b""
    rest = {name: value for name, value in settings.items() if name != "license_key"}
    assert yaml.safe_load(NAMES["with_key"](text, "KEY_1234")) == {**rest, "license_key": "KEY_1234"}
    assert (yaml.safe_load(NAMES["without_key"](text)) or {}) == rest


def test_an_agent_that_does_not_start_gets_its_old_key_and_is_started_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "etc/newrelic-infra.yml"
    file.parent.mkdir()
    (tmp_path / "systemctl.fails").touch()
    monkeypatch.setenv("DBMOD_TEST_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", f"{hosts.STAND_INS}:{os.environ['PATH']}")
    for before, restarts in ((b"license_key: of_before\n", 2), (b"log: x\n", 1), (None, 1)):
        file.unlink(missing_ok=True)
        if before is not None:
            file.write_bytes(before)
        (tmp_path / "systemctl.log").write_bytes(b"")
        with pytest.raises(kit.Refused, match="systemctl restart newrelic-infra ended with code 1"):
            LICENSE.apply(b"license_key=abcdefgh\n", kit.Host({}))
        assert (file.read_bytes() if file.exists() else None) == before
        assert (tmp_path / "systemctl.log").read_text() == "restart newrelic-infra\n" * restarts
