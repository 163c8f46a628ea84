"""A live row changes only on evidence: SEMANTICS §1 and the Apply and Remove of §3, by constructed answers of hosts."""

from datetime import timedelta
from typing import Any

import pytest

from dbmod import evidence, planning
from dbmod.evidence import Outcome
from dbmod.records import Attempt, Row, Run
from tests import builders
from tests.builders import CREATED, LATER, MOMENT, REPLACE

INSTANCE = builders.instance()
MODULE = builders.module(versions=2)
APPLY = builders.run(verb="apply", serial=9)
REMOVE = builders.run(verb="remove", serial=9)
NOW = LATER + timedelta(seconds=5)


def planned(run: Run = APPLY, number: int = 2) -> Attempt:
    return builders.attempt(run, MODULE, INSTANCE, number)


def closed(run: Run, outcome: Outcome | None, number: int = 2) -> Attempt:
    return evidence.judge(planned(run, number), run, outcome, at=NOW)


def after(row: Row | None, run: Run, outcome: Outcome | None) -> Row | None:
    return evidence.row_after(row, closed(run, outcome), run)


HELD = builders.row(MODULE, INSTANCE, 1)
FAILED = {"status": "ERROR", "message": "no such key"}


def test_applied_means_that_the_hosts_own_result_names_this_run_and_this_digest() -> None:
    attempt = closed(APPLY, builders.well(planned(), APPLY))
    assert (attempt.state, attempt.status, attempt.message, attempt.changed) == ("ok", "OK", "Module.V2", True)
    assert attempt.ended_at == NOW
    row = evidence.row_after(HELD, attempt, APPLY)
    assert row is not None
    assert (row.held, row.held_md5, row.held_sha256) == (2, builders.MD5[2], builders.sha256(2))
    assert (row.serial, row.run_id, row.last_attempt) == (9, APPLY.id, "ok")
    assert planning.standing(row, MODULE) == "current"


@pytest.mark.parametrize(
    "lie",
    [
        {"run": "another"},
        {"serial": 8},
        {"instance": builders.instance().id},
        {"module": builders.module().id},
        {"sha256": builders.sha256(1)},
        {"version_number": 1},
        {"removed": LATER},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_a_result_that_does_not_name_this_very_attempt_changes_no_row(lie: dict[str, Any]) -> None:
    told = builders.result(builders.evidence(planned(), APPLY, **lie), module=MODULE.id)
    attempt = closed(APPLY, builders.outcome(INSTANCE, builders.answer(told)))
    assert attempt.state == "unknown"
    assert attempt.evidence is None
    assert evidence.row_after(HELD, attempt, APPLY) is HELD
    assert evidence.row_after(None, attempt, APPLY) is None


def test_a_line_and_a_result_that_contradict_each_other_prove_nothing() -> None:
    for said, written in (("OK", "ERROR"), ("ERROR", "OK")):
        told = builders.result(builders.evidence(planned(), APPLY, status=written), status=said)
        attempt = closed(APPLY, builders.outcome(INSTANCE, builders.answer(told)))
        assert attempt.state == "unknown"
        assert evidence.row_after(HELD, attempt, APPLY) is HELD


def test_an_ok_without_a_result_is_unknown_and_an_error_without_one_is_an_error_that_moves_no_row() -> None:
    ok = builders.result(builders.evidence(planned(), APPLY), evidence=None)
    assert closed(APPLY, builders.outcome(INSTANCE, builders.answer(ok))).state == "unknown"
    refused = builders.refused(planned(), "no room")
    attempt = closed(APPLY, builders.outcome(INSTANCE, builders.answer(refused)))
    assert (attempt.state, attempt.status, attempt.message) == ("error", "ERROR", "no room")
    assert evidence.row_after(HELD, attempt, APPLY) is HELD


def test_a_host_that_was_not_reached_is_unreachable_with_the_reason() -> None:
    for outcome, reason in (
        (None, "the host was not reached"),
        (builders.outcome(INSTANCE, builders.SILENCE), "the host was not reached"),
        (builders.outcome(INSTANCE, builders.SILENCE, "Connection refused"), "Connection refused"),
    ):
        attempt = closed(APPLY, outcome)
        assert (attempt.state, attempt.message, attempt.evidence) == ("unreachable", reason, None)
        assert evidence.row_after(HELD, attempt, APPLY) is HELD


def test_a_host_that_began_and_gave_no_answer_is_unknown() -> None:
    begun = builders.answer(finished=False)
    attempt = closed(APPLY, builders.outcome(INSTANCE, begun))
    assert (attempt.state, attempt.message) == ("unknown", "it started on the host, and no answer came")
    assert closed(APPLY, builders.outcome(INSTANCE, begun, "lost connection")).message == "lost connection"
    assert evidence.row_after(HELD, attempt, APPLY) is HELD


def test_with_one_of_two_results_the_other_is_unknown() -> None:
    other = builders.module(name="other")
    told = builders.answer(builders.result(builders.evidence(planned(), APPLY)), finished=False)
    outcome = builders.outcome(INSTANCE, told)
    assert closed(APPLY, outcome).state == "ok"
    second = builders.attempt(APPLY, other, INSTANCE)
    assert evidence.judge(second, APPLY, outcome, at=NOW).state == "unknown"


def test_a_failing_module_gives_error_and_the_version_held_stays_the_old_one() -> None:
    row = after(HELD, APPLY, builders.well(planned(), APPLY, **FAILED))
    assert row is not None
    assert (row.held, row.held_md5, row.held_sha256) == (1, builders.MD5[1], builders.sha256(1))
    assert (row.status, row.message, row.last_attempt) == ("ERROR", "no such key", "error")
    assert (row.created_at, row.updated_at) == (HELD.created_at, HELD.updated_at)
    assert planning.standing(row, MODULE) == "failed"


def test_a_first_apply_that_fails_holds_nothing() -> None:
    row = after(None, APPLY, builders.well(planned(), APPLY, **FAILED))
    assert row is not None
    assert (row.held, row.held_md5, row.held_sha256, row.removed_at) == (None, None, None, None)
    assert planning.standing(row, MODULE) == "failed"


def test_the_same_version_again_moves_updated_and_keeps_created_and_held() -> None:
    first = after(None, APPLY, builders.well(planned(), APPLY))
    assert first is not None
    again = builders.run(verb="apply", serial=10)
    told = builders.evidence(planned(again), again, updated=LATER + timedelta(hours=1))
    outcome = builders.outcome(INSTANCE, builders.answer(builders.result(told, changed=False)))
    attempt = closed(again, outcome)
    second = evidence.row_after(first, attempt, again)
    assert second is not None
    assert not attempt.changed
    assert REPLACE(second, updated_at=first.updated_at, serial=first.serial, run_id=first.run_id) == first
    assert second.updated_at == LATER + timedelta(hours=1)
    assert (second.run_id, second.serial) == (again.id, 10)


def test_apply_after_remove_works_and_keeps_created() -> None:
    removed = builders.row(MODULE, INSTANCE, 1, held=None, removed_at=MOMENT, created_at=MOMENT)
    row = after(removed, APPLY, builders.well(planned(), APPLY, created=CREATED))
    assert row is not None
    assert (row.held, row.removed_at, row.created_at) == (2, None, MOMENT)


def test_an_apply_that_fails_after_a_remove_is_seen_as_failed_not_as_removed() -> None:
    removed = builders.row(MODULE, INSTANCE, 1, held=None, held_md5=None, held_sha256=None, removed_at=MOMENT)
    row = after(removed, APPLY, builders.well(planned(), APPLY, **FAILED))
    assert row is not None
    assert (row.held, row.removed_at, row.created_at) == (None, None, removed.created_at)
    assert planning.due([row], MODULE) == [row]


def test_a_look_before_is_forgotten_by_the_next_attempt() -> None:
    drifted = REPLACE(HELD, observed="drifted", observed_at=MOMENT)
    for changes in ({}, FAILED):
        row = after(drifted, APPLY, builders.well(planned(), APPLY, **changes))
        assert row is not None
        assert (row.observed, row.observed_at) == (None, None)


def test_a_removed_module_is_held_no_more_and_keeps_created() -> None:
    outcome = builders.well(planned(REMOVE, 1), REMOVE)
    attempt = closed(REMOVE, outcome, 1)
    row = evidence.row_after(HELD, attempt, REMOVE)
    assert row is not None
    assert (attempt.state, row.held, row.held_md5, row.held_sha256) == ("ok", None, None, None)
    assert (row.removed_at, row.updated_at, row.created_at) == (LATER, LATER, HELD.created_at)


def test_what_is_removed_may_have_other_contents_than_the_ledger_thinks() -> None:
    outcome = builders.well(planned(REMOVE, 1), REMOVE, sha256=builders.sha256(4), version_number=4)
    assert closed(REMOVE, outcome, 1).state == "ok"


def test_a_remove_that_fails_is_a_failure_and_the_module_is_still_held() -> None:
    outcome = builders.well(planned(REMOVE, 1), REMOVE, removed=None, **FAILED)
    attempt = closed(REMOVE, outcome, 1)
    row = evidence.row_after(HELD, attempt, REMOVE)
    assert row is not None
    assert attempt.state == "error"
    assert (row.held, row.removed_at, row.status, row.last_attempt) == (1, None, "ERROR", "error")


def test_a_remove_whose_result_tells_no_time_of_it_is_unknown() -> None:
    outcome = builders.well(planned(REMOVE, 1), REMOVE, removed=None)
    attempt = closed(REMOVE, outcome, 1)
    assert attempt.state == "unknown"
    assert evidence.row_after(HELD, attempt, REMOVE) is HELD


def test_check_mode_moves_no_row_whatever_the_host_says() -> None:
    check = REPLACE(APPLY, options={"check": True})
    attempt = closed(check, builders.well(planned(check), check))
    assert (attempt.state, attempt.status, attempt.changed) == ("skipped", "OK", True)
    assert evidence.row_after(HELD, attempt, check) is HELD


def test_a_reapply_is_judged_as_an_apply() -> None:
    reapply = builders.run(verb="reapply")
    row = after(HELD, reapply, builders.well(planned(reapply), reapply))
    assert row is not None
    assert row.held == 2


NOTHING = builders.evidence(planned(), APPLY)
OTHER = "0" * 64


@pytest.mark.parametrize(
    ("changes", "note", "observed", "detail"),
    [
        ({}, "", "in sync", ""),
        ({}, "drifted", "drifted", "as the host says"),
        ({"sha256": "f" * 64}, "drifted", "drifted", f"as the host says: sha256 {OTHER}"),
        ({}, "missing", "missing", "as the host says"),
        ({}, "unknown", "unknown", "as the host says"),
        ({"serial": 1}, "", "drifted", "its result is of an earlier run"),  # the host was set back to an older time
        ({"removed": LATER}, "", "missing", "the host has nothing of it"),
    ],
)
def test_a_look_says_how_the_host_agrees_and_leaves_held_and_status(
    changes: dict[str, Any], note: str, observed: str, detail: str
) -> None:
    row = builders.row(MODULE, INSTANCE, 2, serial=9)
    found = builders.evidence(planned(), APPLY, **{"sha256": OTHER, **changes})
    told = builders.result(found, note=note, observed=OTHER, detail="as the host says" if note else "")
    seen = evidence.look(row, told, at=NOW)
    assert seen == REPLACE(row, observed=observed, observed_at=NOW, observed_detail=detail)


def test_what_waits_for_a_restart_is_in_sync_and_said() -> None:
    row = builders.row(MODULE, INSTANCE, 2, serial=9)
    told = builders.result(builders.evidence(planned(), APPLY), detail="pending restart: databases")
    seen = evidence.look(row, told, at=NOW)
    assert seen == REPLACE(row, observed="in sync", observed_at=NOW, observed_detail="pending restart: databases")


def test_a_host_that_has_nothing_misses_what_the_ledger_holds() -> None:
    seen = evidence.look(HELD, None, at=NOW)
    assert seen is not None
    assert seen.observed == "missing"
    never = builders.row(MODULE, INSTANCE, 1, held=None, last_attempt="error")
    seen = evidence.look(never, None, at=NOW)
    assert seen is not None
    assert seen.observed == "in sync"


def test_a_look_at_what_is_not_held_says_nothing() -> None:
    removed = REPLACE(HELD, removed_at=MOMENT)
    assert evidence.look(removed, None, at=NOW) is removed
    assert evidence.look(None, builders.result(NOTHING), at=NOW) is None


def test_a_damaged_result_reads_unknown_also_without_any_evidence() -> None:
    told = builders.result(NOTHING, evidence=None, note="unknown")
    seen = evidence.look(HELD, told, at=NOW)
    assert seen is not None
    assert seen.observed == "unknown"
