"""The frame that goes to a host and the answer that comes back."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbmod import transport
from tests import hosts

RUN = "4f1c"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).isoformat()
DIGEST = "a" * 64


def a_line(**changes: Any) -> dict[str, Any]:
    evidence = {
        **dict.fromkeys(("machine", "name", "datastore", "datastore_version", "tenant", "md5", "message"), "x"),
        "instance": "i",
        "run": RUN,
        "serial": 7,
        "verb": "apply",
        "type": "ping",
        "module": hosts.MODULE,
        "version_number": 2,
        "sha256": DIGEST,
        "status": "OK",
        "created": NOW,
        "updated": NOW,
        "removed": None,
        "auto_apply": False,
        "visible": True,
        "is_admin": False,
    }
    if isinstance(changes.get("evidence"), dict):
        evidence.update(changes.pop("evidence"))
    line = {"module": hosts.MODULE, "type": "ping", "status": "OK", "message": "hi", "changed": True, "note": ""}
    return {**line, "detail": "", "observed": None, "evidence": evidence, **changes}


def printed(*lines: dict[str, Any], noise: str = "") -> bytes:
    results = "".join(f"dbmod-result {RUN} {json.dumps(line)}\n{noise}" for line in lines)
    return f"{noise}\ndbmod-started {RUN}\n{results}dbmod-finished {RUN}\n{noise}".encode()


def test_command_is_constant_and_quoted() -> None:
    assert transport.command("/usr/bin/python3") == transport.command("/usr/bin/python3")
    assert transport.command("/o p/python3").startswith("'/o p/python3' -IS -c '")
    assert len(transport.command("python3")) < 300


def test_frame_carries_contents_as_they_are() -> None:
    contents = bytes(range(256)) * 3
    request = transport.Request(
        run=RUN, serial=7, verb="apply", home="/h", instance="i", modules=(hosts.module("ping", contents),)
    )
    data = transport.frame(request, {"ping": "# é"}, [contents])
    assert data.endswith("# é".encode() + contents)
    size, _, rest = data.partition(b"\n")
    _, _, rest = rest[int(size) :].partition(b"\n")
    header, _ = json.JSONDecoder().raw_decode(rest.decode("latin-1"))
    assert header["modules"][0]["size_bytes"] == len(contents)
    assert header["types"] == [["ping", 4]]
    assert [name for name, _ in header["kit"]] == [f"dbmod_{name}" for name in transport.KIT]


def test_frame_with_a_contents_too_few_is_refused() -> None:
    module = hosts.module("ping", b"x")
    request = transport.Request(run=RUN, serial=7, verb="apply", home="/h", instance="i", modules=(module, module))
    with pytest.raises(ValueError, match="zip"):
        transport.frame(request, {}, [b"x"])


def test_answer_is_read_through_noise() -> None:
    answer = transport.read_answer(printed(a_line(), noise="Welcome\r\n\x1b[0m{}\n"), RUN)
    assert (answer.started, answer.finished, answer.problem) == (True, True, "")
    result = answer.result(hosts.MODULE)
    assert result is not None and result.evidence is not None
    assert (result.message, result.changed, result.evidence.serial) == ("hi", True, 7)


def test_answer_of_a_terminal_and_as_text_is_read() -> None:
    output = printed(a_line()).replace(b"\n", b"\r\n").decode()
    assert transport.read_answer(output, RUN).result(hosts.MODULE)


def test_answer_of_another_run_does_not_count() -> None:
    answer = transport.read_answer(printed(a_line()), "other")
    assert (answer.started, answer.finished, answer.results) == (False, False, ())


def test_answer_cut_off_is_started_and_not_finished() -> None:
    output = printed(a_line())
    answer = transport.read_answer(output[: output.index(b"dbmod-finished")], RUN)
    assert (answer.started, answer.finished, len(answer.results)) == (True, False, 1)
    answer = transport.read_answer(output[: output.index(b"dbmod-result") + 40], RUN)
    assert (answer.started, answer.results) == (True, ())


def test_the_first_of_two_results_counts() -> None:
    answer = transport.read_answer(printed(a_line(), a_line(message="later")), RUN)
    assert [result.message for result in answer.results] == ["hi"]


@pytest.mark.parametrize(
    "line",
    [
        a_line(status="FINE"),
        a_line(module="../../etc"),
        a_line(module="m" * 65),
        a_line(type="Ping"),
        a_line(note="fine"),
        a_line(observed="abc"),
        a_line(changed="yes"),
        a_line(contents="not base64!"),
        a_line(evidence={"module": "another"}),
        a_line(evidence={"type": "another"}),
        a_line(evidence={"name": "a\nb"}),
        a_line(evidence={"name": "\x1b[31m"}),
        a_line(evidence={"tenant": "x" * 256}),
        a_line(evidence={"sha256": "x"}),
        a_line(evidence={"serial": "7"}),
        a_line(evidence={"created": "2026-01-01T00:00:00"}),
        a_line(evidence={"created": "yesterday"}),
    ],
    ids=str,
)
def test_a_result_that_is_not_ours_is_no_result(line: dict[str, Any]) -> None:
    answer = transport.read_answer(printed(line), RUN)
    assert answer.results == ()
    assert answer.problem == "the host gave a result that cannot be understood"


def test_evidence_may_name_what_names_allow() -> None:
    line = a_line(evidence={"name": " caf\u00e9 \u202e{{ x }} ", "machine": "", "message": "a\n\x1b[2J"})
    evidence = transport.read_answer(printed(line), RUN).results[0].evidence
    assert evidence is not None
    assert (evidence.name, evidence.message) == (" caf\u00e9 \u202e{{ x }} ", "a  [2J")


def test_messages_from_a_host_become_harmless() -> None:
    answer = transport.read_answer(printed(a_line(message="a\n\x1b[2J" + "b" * 400, detail="c\td", evidence={})), RUN)
    result = answer.results[0]
    assert result.message == "a  [2J" + "b" * 248 + "…"
    assert result.detail == "c d"


def test_observed_is_computed_from_the_contents_that_came() -> None:
    line = a_line(contents=base64.b64encode(b"x").decode(), observed=DIGEST)
    result = transport.read_answer(printed(line), RUN).results[0]
    assert result.contents == b"x"
    assert result.observed == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def test_a_refusal_is_the_problem() -> None:
    answer = transport.read_answer(b"dbmod-refused - dbmod needs Python 3.6 or newer on the host\n", RUN)
    assert (answer.started, answer.problem) == (False, "dbmod needs Python 3.6 or newer on the host")


def test_too_long_an_answer_is_refused_but_known_as_started() -> None:
    output = printed(a_line()) + b"x" * 2000
    answer = transport.read_answer(output, RUN, limit_bytes=2000)
    assert (answer.started, answer.finished, answer.results) == (True, False, ())
    assert answer.problem == f"the host answered {len(output)} bytes"


@given(st.binary(max_size=300))
@example(f"dbmod-started {RUN}\ndbmod-result {RUN} ".encode() + b"[" * 100_000)
@example(f"dbmod-started {RUN}\ndbmod-result {RUN} ".encode() + b'{"module": "\\ud800"}')
@example(f"dbmod-started {RUN}\ndbmod-result {RUN} ".encode() + b"\xff\xfe")
def test_hostile_output_never_raises(noise: bytes) -> None:
    answer = transport.read_answer(noise, RUN)
    assert answer.results == ()
    answer = transport.read_answer(printed(a_line()) + noise, RUN)
    assert answer.started


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4), st.data())
def test_a_result_with_a_hostile_field_is_data_or_nothing(value: object, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(a_line())))
    for result in transport.read_answer(printed(a_line(**{field: value})), RUN).results:
        assert len(result.message) <= 255 and result.message.isprintable()
        assert result.status in ("OK", "ERROR")
