"""Reconcile makes the ledger equal to the hosts' evidence (R7, the deciding part)."""

from typing import Any

import pytest

from dbmod import planning, reconcile
from dbmod.records import Row
from tests import builders
from tests.builders import LATER, MOMENT, REPLACE

INSTANCE = builders.instance()
MODULE = builders.module(versions=2)
RUN = builders.run(serial=9)
ATTEMPT = builders.attempt(RUN, MODULE, INSTANCE, 2)
HELD = builders.row(MODULE, INSTANCE, 1, serial=4)
EMPTY = {"held": None, "held_md5": None, "held_sha256": None}


def found(note: str = "", **changes: Any) -> Any:
    return builders.result(builders.evidence(ATTEMPT, RUN, **changes), note=note)


def corrected(row: Row | None, result: Any) -> tuple[Row, str]:
    correction = reconcile.correct(row, result, at=LATER)
    assert correction is not None
    assert correction.before == row
    return correction.after, correction.what


def test_applied_but_not_recorded_is_recorded() -> None:
    row, what = corrected(None, found())
    assert (row.held, row.held_sha256, row.serial, row.run_id) == (2, builders.sha256(2), 9, RUN.id)
    assert planning.is_current(row, MODULE)
    assert what == "recorded: the host holds version 2"


def test_a_newer_result_of_the_host_corrects_the_row_and_keeps_created() -> None:
    row, what = corrected(HELD, found())
    assert (row.held, row.created_at, what) == (2, HELD.created_at, "corrected: version 1 to 2, OK")


def test_a_failure_that_was_not_recorded_is_recorded_and_what_is_held_stays() -> None:
    row, what = corrected(HELD, found(status="ERROR", message="no"))
    assert (row.held, row.last_attempt, row.message) == (1, "error", "no")
    assert what == "corrected: version 1 to 1, ERROR"
    row, what = corrected(None, found(status="ERROR"))
    assert (row.held, what) == (None, "recorded: the host's last attempt")


def test_a_removal_that_was_not_recorded_is_recorded() -> None:
    row, what = corrected(HELD, found(removed=LATER))
    assert (row.held, row.removed_at, what) == (None, LATER, "corrected: version 1 to none, OK")


def test_an_apply_after_a_recorded_removal_is_recorded() -> None:
    removed = REPLACE(HELD, removed_at=MOMENT, **EMPTY)
    row, what = corrected(removed, found())
    assert (row.held, row.removed_at, what) == (2, None, "corrected: version none to 2, OK")


def test_an_older_result_than_the_ledgers_is_drift_never_truth() -> None:
    newer = REPLACE(HELD, serial=10)
    row, what = corrected(newer, found())
    assert (row.held, row.observed, what) == (1, "drifted", "drifted")


@pytest.mark.parametrize("note", ["drifted", "missing"])
def test_contents_whose_digest_is_not_the_results_are_drift_also_with_a_newer_result(note: str) -> None:
    row, _ = corrected(HELD, found(note))
    assert row.observed == note
    assert not planning.is_current(row, MODULE)
    again = reconcile.correct(row, found(note), at=LATER)
    assert again is None


def test_a_result_of_another_machine_is_unknown_and_corrects_nothing() -> None:
    row, what = corrected(HELD, found("unknown"))
    assert (row.held, row.serial, row.observed, what) == (1, 4, "unknown", "unknown")
    assert reconcile.correct(None, found("unknown"), at=LATER) is None


def test_a_host_without_the_module_is_missing_it() -> None:
    row, what = corrected(HELD, None)
    assert (row.held, row.observed, what) == (1, "missing", "missing")


def test_what_agrees_needs_no_correction() -> None:
    row, _ = corrected(None, found())
    assert reconcile.correct(row, found(), at=LATER) is None
    assert reconcile.correct(None, None, at=LATER) is None
    removed = REPLACE(HELD, removed_at=MOMENT, **EMPTY)
    assert reconcile.correct(removed, None, at=LATER) is None


def test_what_was_seen_to_differ_and_agrees_now_is_in_sync_again() -> None:
    same = REPLACE(builders.row(MODULE, INSTANCE, 2, serial=9), observed="drifted")
    row, what = corrected(same, found())
    assert (row.observed, what) == ("in sync", "in sync again")
