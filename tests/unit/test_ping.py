"""The type ping."""

import pytest

from dbmod import config, module_types
from dbmod.hostside import dbmod_kit as kit

PING = module_types.functions(module_types.find(config.Settings(), "ping"))
HOST = kit.Host({})


def test_apply_says_the_message() -> None:
    assert PING.apply(b"message=Module.V1\n", HOST) == kit.Outcome(changed=False, message="Module.V1")
    assert PING.apply(b"Message=a\nMESSAGE=b\n# message=c\n", HOST).message == "b"
    assert PING.apply(b"message=\n", HOST).message == ""


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "Message not found in contents file"),
        (b"massage=x\n", "Message not found in contents file"),
        (b"# message=x\n", "Message not found in contents file"),
        (b"message\n", "Could not extract ping message: line 1 has no '='"),
        (bytes(range(256)), "Could not extract ping message: the contents are not UTF-8 text (byte 128)"),
    ],
)
def test_bad_contents_are_refused_by_validate_and_apply(contents: bytes, message: str) -> None:
    with pytest.raises(kit.Refused) as refusal:
        PING.validate(contents)
    assert str(refusal.value) == message
    with pytest.raises(kit.Refused) as refusal:
        PING.apply(contents, HOST)
    assert str(refusal.value) == message


def test_remove_is_always_well() -> None:
    assert PING.remove(b"\xff", HOST) == kit.Outcome(changed=False, message="")
