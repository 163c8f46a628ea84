"""What a database's client says, which may quote a password."""

import pytest

from dbmod import clients


@pytest.mark.parametrize(
    ("answer", "succeeded", "statements"),
    [({"rc": 0, "stdout": "", "stderr": ""}, "", 0), ({"rc": 0, "stdout": "OK\nOK\n", "stderr": ""}, "OK", 2)],
)
def test_success_is_a_change(answer: dict[str, object], succeeded: str, statements: int) -> None:
    told = clients.outcome(answer, what="it was", succeeded=succeeded, statements=statements)
    assert told == {"changed": True}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("ERROR 1396 (HY000) at line 2: CANARY", "1396"),
        ("ERROR:  42704: CANARY", "42704"),
        ("ERR CANARY is no command", "ERR"),
        ("CANARY", "exit 3"),
    ],
)
def test_failure_tells_the_number_and_never_the_words(said: str, reason: str) -> None:
    told = clients.outcome({"rc": 3, "stdout": "", "stderr": said}, what="the users were")
    assert told == {"failed": True, "msg": f"the users were not made: the server says {reason}"}


def test_a_missing_answer_is_a_failure() -> None:
    told = clients.outcome({"rc": 0, "stdout": "OK\n"}, what="the users were", succeeded="OK", statements=2)
    assert told["failed"]
