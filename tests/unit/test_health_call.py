"""What a host says of its server, and what comes of it where it says nothing; the connection is a function here."""

from typing import Any

import pytest

from dbmod import doors, health_call
from dbmod.host_call import Reply

RUN = "a-run"
HOST = {
    "dbmod_id": "9a3b5b1c-6f6e-5a41-8a39-0c2a6ff0a6b1",
    "dbmod_host_home": "/var/lib/dbmod",
    "dbmod_datastore": "redis",
    "dbmod_datastore_version": "7.0.15",
    "dbmod_port": 6379,
    doors.INTERPRETER: "/usr/bin/python3",
}


def asked(reply: Reply, **more: Any) -> dict[str, Any]:
    return health_call.carry_out(RUN, HOST, lambda _command, _data: reply, name="db-1", **more)


def said(text: str) -> Reply:
    return Reply(output=f"Welcome!\r\ndbmod-started {RUN}\r\ndbmod-health {RUN} {text}\r\ndbmod-finished {RUN}\r\n")


def test_a_fault_fails_only_who_waits_for_none() -> None:
    reply = said('{"faults": ["it does not answer", "3 s behind"], "is_replica": true}')
    known = {"changed": False, "unreached": False, "faults": ("it does not answer", "3 s behind"), "is_replica": True}
    assert asked(reply) == known
    assert asked(reply, wait_seconds=60) == known | {"failed": True, "msg": "it does not answer, 3 s behind"}
    assert "failed" not in asked(said('{"faults": [], "is_replica": false}'), wait_seconds=60)


def test_a_host_that_is_not_reached_is_told_by_its_cause() -> None:
    answer = asked(Reply(output="", trouble="ssh: Connection refused", was_reached=False), wait_seconds=60)
    assert (answer["failed"], answer["unreached"]) == (True, True)
    assert answer["msg"] == "the connection was refused; next: is ssh running there, on this port?"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"faults": 1, "is_replica": true}', '{"faults": []}', "[" * 9999])
def test_an_answer_that_cannot_be_understood_is_a_fault(text: str) -> None:
    answer = asked(said(text), wait_seconds=60)
    assert (answer["failed"], answer["msg"]) == (True, "the host gave no answer that can be understood")


def test_what_a_host_says_is_one_harmless_line() -> None:
    [fault] = asked(said('{"faults": ["a\\u001b[31m\\n' + "b" * 9999 + '"], "is_replica": false}'))["faults"]
    assert fault.isprintable()
    assert len(fault) <= 255
    other = Reply(output=f"dbmod-health another {{}}\ndbmod-health {RUN} " + '{"faults": [], "is_replica": true}')
    assert asked(other)["is_replica"]
