"""Arguments with parts."""

import pytest

from dbmod import building, errors
from dbmod.building import Member
from dbmod.cli import parsing


def test_member_reads_the_guides_spelling() -> None:
    assert parsing.member("flavor=15,volume=1,module=mymod") == Member(flavor="15", volume_gb=1, modules=("mymod",))


def test_member_takes_modules_and_nics_repeatedly() -> None:
    text = "flavor=15,nic='net-id=a,v4-fixed-ip=10.0.0.1',module=x,nic=port-id=b,module=y,volume_type=fast,region=r"
    assert parsing.member(text) == Member(
        flavor="15",
        modules=("x", "y"),
        nics=("net-id=a,v4-fixed-ip=10.0.0.1", "port-id=b"),
        volume_type="fast",
        region="r",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("volume=1", "--instance: flavor is missing."),
        ("flavor=15,colour=red", "--instance: 'colour=red' is not understood."),
        ("flavor", "--instance: 'flavor' is not understood."),
        ("flavor=", "--instance: 'flavor=' is not understood."),
        ("flavor=15,flavor=20", "--instance: flavor is there twice."),
        ("flavor=15,volume=-1", "--instance: volume: '-1' is not a number of GB."),
        ("flavor=15,volume=٣", "--instance: volume: '٣' is not a number of GB."),
        ("flavor=15,net-id=a", "--instance: 'net-id=a' is not understood."),
        ("flavor=15,nic=net-id=a,net-id=b", "A nic 'net-id=a,net-id=b' is not understood."),
    ],
)
def test_member_refuses_what_it_does_not_understand(text: str, reason: str) -> None:
    with pytest.raises(errors.BadInput) as refusal:
        parsing.member(text)
    assert refusal.value.what == reason


@pytest.mark.parametrize("text", ["", "net-id", "net-id=", "colour=red", "net-id=a,net-id=b"])
def test_nic_refuses_other_forms(text: str) -> None:
    with pytest.raises(errors.BadInput, match="nic"):
        building.nic(text)


def test_words_splits_commas_and_repetitions() -> None:
    assert parsing.words(["a,b", "c d"]) == ("a", "b", "c", "d")
