"""Errors: exit codes as SEMANTICS §2 says, and the text a user sees."""

import pytest

from dbmod import errors

CODES = {
    errors.Failed: 1,
    errors.BadInput: 2,
    errors.NotFound: 2,
    errors.NotUnique: 2,
    errors.Refused: 2,
    errors.LedgerError: 3,
    errors.LedgerBusy: 3,
    errors.LedgerDamaged: 3,
    errors.LedgerUnwritable: 3,
    errors.DbmodError: 5,
    errors.InternalError: 5,
    errors.Interrupted: 130,
}


def every_error(kind: type[errors.DbmodError] = errors.DbmodError) -> set[type[errors.DbmodError]]:
    return {kind}.union(*(every_error(child) for child in kind.__subclasses__()))


def test_every_error_has_the_exit_code_of_the_specification() -> None:
    assert {kind: kind.exit_code for kind in every_error()} == CODES


def test_the_docstring_is_the_tree_of_all_errors() -> None:
    told = {word for line in (errors.__doc__ or "").splitlines() for word in line.split() if word.isidentifier()}
    assert {kind.__name__ for kind in every_error()} <= told


def test_an_error_says_what_where_and_what_next_in_aligned_lines() -> None:
    error = errors.Refused(
        "db-7 has no room", details={"module": "license-prod", "run": "4f1c"}, next_step="free space"
    )
    assert error.lines() == ["db-7 has no room", "  module  license-prod", "  run     4f1c", "  next    free space"]
    assert str(error) == "db-7 has no room"


@pytest.mark.parametrize("kind", sorted(CODES, key=lambda kind: kind.__name__))
def test_an_error_without_more_is_one_line(kind: type[errors.DbmodError]) -> None:
    assert kind("no").lines() == ["no"]
