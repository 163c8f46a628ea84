"""Confirmations and passwords where there is no terminal."""

import io
import sys

import pytest

from dbmod import errors
from dbmod.building import Account
from dbmod.cli import ask


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_confirmation_needs_yes_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("db-1\n"))
    with pytest.raises(errors.BadInput) as refusal:
        ask.confirm("Deleting 'db-1'", "db-1", yes=False)
    assert refusal.value.lines() == ["Deleting 'db-1' has to be confirmed.", "  next  add --yes"]


def test_yes_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    ask.confirm("Deleting 'db-1'", "db-1", yes=True)


def test_confirmation_on_a_terminal_wants_the_very_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("db-1\n"))
    ask.confirm("Deleting 'db-1'", "db-1", yes=False)
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    with pytest.raises(errors.Refused, match="nothing was done"):
        ask.confirm("Deleting 'db-1'", "db-1", yes=False)


def test_nobody_who_answers_is_no_and_what_follows_is_on_its_own_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert ask.goes_on("Go on?") is False
    assert capsys.readouterr().err.endswith("\n")


def test_passwords_come_from_the_argument_or_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\r\ntwo: 2\n"))
    assert ask.accounts(("a", "b:in:line", "c"), may_ask=True) == (
        Account(name="a", password="one"),
        Account(name="b", password="in:line"),
        Account(name="c", password="two: 2"),
    )


@pytest.mark.parametrize("user", ["a", "a:", ":secret"])
def test_a_user_without_name_or_password_is_refused(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(errors.BadInput) as refusal:
        ask.accounts((user,), may_ask=True)
    assert "secret" not in "".join(refusal.value.lines())


def test_nothing_is_asked_where_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("typed\n"))
    with pytest.raises(errors.BadInput, match="would have to be asked"):
        ask.accounts(("a",), may_ask=False)
