"""Names stay names (R12)."""

import string
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dbmod import names

NAMES_IN_EACH = 20  # one by one, the drawing alone would take five seconds
SEED = 12
GOOD = ("a", "7", "db-7", "my mod", "Ünïcode", "漢", "-rf", "~ada", ".hidden", "con", "a..b", "a" * 255, "r\u202eexe")
BAD = (
    "", " ", ".", "..", "...", "-", "~", "a/b", "/etc/passwd", "../a", "a\0", "a\nb", "a\rb", "a\tb", "a\x7f", "a\x85b",
    "\ud800a", "a" * 256, "_", "\u200b",
)  # fmt: skip
HOSTILE = "./\\~-_ \0\n\t{}%#$'\"aA0é漢\u202e\u0430\ud800"


def rule(name: str) -> bool:
    """SEMANTICS §3, said another way than names.py says it."""
    has_letter_or_digit = sum(unicodedata.category(one)[0] in "LN" and one.isalnum() for one in name) > 0
    has_control = {unicodedata.category(one) for one in name} & {"Cc", "Cs"}
    return 0 < len(name) < 256 and "/" not in name and has_letter_or_digit and not has_control


@pytest.mark.parametrize("name", GOOD)
def test_names_that_are_allowed(name: str) -> None:
    assert names.is_valid_name(name)


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_refused(name: str) -> None:
    assert not names.is_valid_name(name)


@pytest.mark.parametrize(
    "wanted", [10_000, pytest.param(1_000_000, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])]
)
def test_a_name_is_accepted_if_and_only_if_the_rule_holds_and_stays_in_its_directory(
    tmp_path: Path, figure: Callable[[str, str], None], wanted: int
) -> None:
    tried = outside = disagreed = accepted = 0

    some = st.one_of(st.text(HOSTILE, max_size=12), st.text(max_size=6), st.integers(250, 260).map("x".__mul__))

    @seed(SEED)
    @settings(
        max_examples=wanted // NAMES_IN_EACH, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(some, min_size=NAMES_IN_EACH, max_size=NAMES_IN_EACH))
    def check(drawn: list[str]) -> None:
        nonlocal tried, outside, disagreed, accepted
        for name in drawn:
            verdict = names.is_valid_name(name)
            tried += 1
            accepted += verdict
            disagreed += verdict != rule(name)
            outside += verdict and (tmp_path / name).parent != tmp_path

    check()
    wrong = f"{disagreed} disagreements with the rule, {outside} outside the home"
    figure("R12", f"{wrong} in {tried} names ({accepted} accepted), seed {SEED}")
    assert (disagreed, outside) == (0, 0)
    assert tried >= wanted
    assert accepted > wanted / 10


def test_a_description_may_have_a_slash_and_dots_but_no_control_character() -> None:
    assert names.is_valid_text("either/or")
    assert not names.is_valid_text("..")
    assert not names.is_valid_text("two\nlines")
    assert not names.is_valid_text("x" * 256)


@pytest.mark.parametrize("name", ["db-7", "a.b_c", "7"])
def test_plain_names_can_be_inventory_hosts(name: str) -> None:
    assert names.is_plain(name)


@pytest.mark.parametrize("name", ["-rf", ".a", "", "a b", "ü", "a\n", "{{x}}", "a,b", "a:b", "x" * 256])
def test_other_names_cannot_be_inventory_hosts(name: str) -> None:
    assert not names.is_plain(name)


def test_identifiers_are_lower_case_uuids() -> None:
    assert names.is_identifier("0065a8ed-0668-4db5-a4ad-d88d0a166388")
    assert not names.is_identifier("0065A8ED-0668-4db5-a4ad-d88d0a166388")
    assert not names.is_identifier("0065a8ed-0668-4db5-a4ad-d88d0a166388\n")


def test_types_are_lower_case_words() -> None:
    assert all(map(names.is_valid_type, ("ping", "new_relic_license", "a" * 64)))
    assert not any(
        map(names.is_valid_type, ("", "Ping", "1a", "_a", "a-b", "../x", "a" * 65, "ping\n", *string.punctuation))
    )


def test_names_are_sorted_as_people_count() -> None:
    ordered = ["7", "a", "db10", "db-1", "db-02", "db-2", "db-2b", "db-10", "db-10-a2", "db-10-a10", "é"]
    assert sorted(set(ordered), key=names.natural_key) == ordered
