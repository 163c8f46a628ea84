"""Progress off a terminal: plain lines on standard error; and what a run's title says."""

import msgspec
import pytest

from dbmod.cli import carry, output, progress
from tests import ledgers

RUN = msgspec.structs.replace(ledgers.run(1), verb="reapply", batch_sizes=(2, 1))
HOSTS = {ledgers.identifier(number): f"db-{number}" for number in (1, 2, 3)}
PLANNED = [ledgers.attempt(number, run_id=RUN.id) for number in (1, 2, 3)]


def test_plain_progress_says_batch_and_host(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.make(quiet=False)
    shown.start(RUN, HOSTS, PLANNED)
    shown.batch(1, 2, ["db-1", "db-2"])
    shown.step("db-1", "not said in a batch", done=True)
    shown.host("db-1", "ok", "Module.V1")
    shown.host("db-2", "error", "no \x1b room")
    shown.batch(2, 2, ["db-3"])
    shown.host("db-3", "unreachable", "")
    shown.stop()
    told = (
        f"run {RUN.id}: reapply, 3 instances, 1 module in 2 batches\n"
        "batch 1 of 2: 2 instances\n"
        "batch 1 of 2: db-1 ok  Module.V1\n"
        "batch 1 of 2: db-2 error  no \\x1b room\n"
        "batch 2 of 2: 1 instance\n"
        "batch 2 of 2: db-3 unreachable\n"
    )
    assert capsys.readouterr() == ("", told)


def test_a_look_is_never_called_like_the_thing_itself() -> None:
    run = msgspec.structs.replace(RUN, options={"check": True})
    assert progress.title(run, HOSTS, PLANNED) == f"run {RUN.id}: reapply --check, 3 instances, 1 module in 2 batches"
    found = [("OK", True), ("OK", False), ("ERROR", False)]
    looks = [
        msgspec.structs.replace(one, state="skipped", status=status, changed=changed)
        for one, (status, changed) in zip(PLANNED, found, strict=True)
    ]
    assert [carry.status(one) for one in looks] == ["WOULD CHANGE", "WOULD STAY", "WOULD FAIL"]
    assert carry.counts(looks) == "1 would change, 1 would stay, 1 would fail"
    left_alone = msgspec.structs.replace(PLANNED[0], state="skipped", status="SKIPPED")
    assert (carry.status(left_alone), carry.counts([left_alone])) == ("SKIPPED", "1 skipped")


def test_plain_progress_says_a_step_once(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.Plain()
    for _ in range(2):
        shown.step("db-1", "Start the server", done=True)
    assert capsys.readouterr().err == "db-1: Start the server\n"


def test_a_question_names_a_host_once(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.Plain()
    shown.start(msgspec.structs.replace(RUN, verb="query"), HOSTS, [])
    shown.batch(1, 1, ["db-1"])
    shown.host("db-1", "ok", "")
    shown.host("db-1", "ok", "Module.V1")
    assert capsys.readouterr().err.splitlines()[2:] == ["batch 1 of 1: db-1 ok"]


def test_quiet_progress_says_notes_alone(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.make(quiet=True)
    shown.start(RUN, HOSTS, PLANNED)
    shown.batch(1, 2, ["db-1"])
    shown.host("db-1", "ok", "")
    shown.step("db-1", "x", done=False)
    shown.note("stopping")
    assert capsys.readouterr().err == "stopping\n"


def test_live_progress_keeps_markup_and_control_characters_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda _stream: True)
    shown = progress.make(quiet=False)
    assert isinstance(shown, progress.Live)
    shown.start(RUN, HOSTS, PLANNED)
    shown.batch(1, 2, ["db-1", "db-2"])
    shown.host("db-1", "ok", "[bold]not markup[/bold]")
    shown.host("db-2", "error", "\x1b]0;title\x07")
    shown.stop()
    told = capsys.readouterr()
    assert told.out == ""
    assert "db-1 ok  [bold]not markup[/bold]" in told.err
    assert "db-2 error  \\x1b]0;title\\x07" in told.err


def test_a_line_has_a_colour_and_the_bar_below_it_keeps_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(output, "is_terminal", lambda _stream: True)
    shown = progress.make(quiet=False)
    shown.start(RUN, HOSTS, PLANNED)
    shown.batch(1, 2, ["db-1"])
    shown.host("db-1", "ok", "Module.V1")
    shown.stop()
    told = capsys.readouterr().err
    assert "\x1b[32mdb-1 ok  Module.V1\x1b[0m" in told
    assert "\x1b[32mbatch 1 of 2" not in told


def test_counts_take_the_worst_of_each_instance() -> None:
    attempts = [
        msgspec.structs.replace(ledgers.attempt(number, run_id=RUN.id), module_id=module, state=state)
        for number, module, state in (
            (1, "m", "ok"),
            (1, "n", "error"),
            (2, "m", "ok"),
            (3, "m", "cancelled"),
            (4, "m", "unreachable"),
        )
    ]
    assert carry.counts(attempts) == "1 ok, 1 failed, 1 unreachable, 1 not started"


@pytest.mark.parametrize(
    ("state", "status", "shown"),
    [("ok", "OK", "OK"), ("error", "", "ERROR"), ("unreachable", "", "UNREACHABLE"), ("unknown", "OK", "UNKNOWN")],
)
def test_status_says_why_there_is_none(state: str, status: str, shown: str) -> None:
    attempt = msgspec.structs.replace(PLANNED[0], state=state, status=status)
    assert carry.status(attempt) == shown
