"""Expressions in contents: names and arithmetic, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbmod.hostside import dbmod_expressions as expressions
from dbmod.hostside import dbmod_kit as kit

VALUES: dict[str, expressions.Value] = {"memory_mib": 1000, "address": "10.0.0.7", "server_id": 7, "port": None}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("maxmemory @memory_mib*0.7@mb", "maxmemory 700mb"),
        ("a @memory_mib/3@", "a 333"),
        ("a @ ( memory_mib + 24 ) * 2 - 8/2 @", "a 2044"),
        ("a @-2*-3@", "a 6"),
        ("bind @address@:@server_id@", "bind 10.0.0.7:7"),
        ("user@@host", "user@host"),
        ("# mail dba@example.org", "# mail dba@example.org"),
        ("; a@b\nx @2@", "; a@b\nx 2"),
        ("no expression {{ at }} all", "no expression {{ at }} all"),
    ],
)
def test_expressions_are_filled_in(text: str, rendered: str) -> None:
    assert expressions.render(text, VALUES) == rendered


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("memory_mib", "an '@' without its second; '@@' stands for one"),
        ("memory_mib*@", "an expression ends too early"),
        ("(memory_mib@", "an expression lacks a ')'"),
        ("memory_mib 2@", "an expression goes on where it should end"),
        ("2**3@", "an expression has a sign where a value should be"),
        ("2/(1-1)@", "an expression divides by zero"),
        ("__import__@", "an expression holds more than names, numbers, + - * / ( )"),
        ("disk@", "an expression has a name that is none of address, memory_mib, port, server_id"),
        ("address*2@", "an expression calculates with a text"),
        ("port@", "port is not known on this host"),
        ("1+" * 50 + "1@", "an expression of more than 100 characters"),
    ],
)
def test_bad_expressions_are_refused_with_their_line(expression: str, reason: str) -> None:
    with pytest.raises(kit.Refused) as refusal:
        expressions.render(f"ok 1\nvalue @{expression}", VALUES)
    assert str(refusal.value) == f"line 2: {reason}"


@given(st.text())
def test_any_text_is_rendered_or_refused(text: str) -> None:
    try:
        rendered = expressions.render(text, VALUES)
    except kit.Refused as refusal:
        assert str(refusal).startswith("line ")
    else:
        assert rendered.count("\n") == text.count("\n")


@given(st.integers(1, 10**9), st.integers(1, 10**6))
def test_numbers_are_exact_and_rounded_down(first: int, second: int) -> None:
    assert expressions.render(f"@{first}/{second}@", {}) == str(first // second)
    assert expressions.render("@n*0.7@", {"n": 10 * first}) == str(7 * first)
