"""The type script: what it reads in a script and its output, and how a script ends badly."""

import os
import tempfile
from pathlib import Path

import pytest

from dbmod import config, module_types
from dbmod.hostside import dbmod_kit as kit

SCRIPT = module_types.functions(module_types.find(config.Settings(), "script"))
NAMES = SCRIPT.apply.__globals__


@pytest.fixture
def host(tmp_path: Path) -> kit.Host:
    facts = {"instance": "i", "datastore": "redis", "datastore_version": "7.0", "port": 6379}
    return kit.Host({**facts, "directory": str(tmp_path)})


@pytest.mark.parametrize(
    ("output", "changed", "message"),
    [
        ("", True, ""),
        ("one\ntwo\n", True, "two"),
        ("one\n\nchanged=false\n", False, "one"),
        ("changed=true\n", True, ""),
        ("changed=false\nmore\n", True, "more"),
    ],
)
def test_output_gives_message_and_change(output: str, changed: bool, message: str) -> None:
    assert NAMES["outcome_of"](output) == kit.Outcome(changed, message)


def test_it_is_run_as_the_kernel_would_with_nothing_but_the_facts(host: kit.Host, tmp_path: Path) -> None:
    said = SCRIPT.apply(b'#!/bin/sh -u\npwd; env | sort | tr "\\n" " "; echo "$1 $#"\n', host)
    facts = f"DBMOD_DATASTORE=redis DBMOD_DATASTORE_VERSION=7.0 DBMOD_DIRECTORY={tmp_path} DBMOD_INSTANCE=i "
    assert said.message == f"{facts}DBMOD_PORT=6379 LC_ALL=C PATH={kit.PATHS} PWD={tmp_path} apply 1"


def test_nothing_of_it_lies_anywhere_while_it_runs(
    host: kit.Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    assert SCRIPT.apply(f"#!/bin/sh\nls -A {place} | wc -l\n".encode(), host).message == "0"
    descriptors = os.listdir("/proc/self/fd")  # noqa: PTH208  (reading it opens one more)
    assert SCRIPT.apply(b"#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:])\n", host).message == "['apply']"
    assert os.listdir("/proc/self/fd") == descriptors  # noqa: PTH208


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo working; echo no room >&1; exit 3", "the script's apply ended with code 3: no room"),
        ("echo secret >&2; exit 1", "the script's apply ended with code 1"),
        ("kill -9 $$", "the script's apply ended with signal 9"),
        ("# dbmod: limit 1\nsleep 60", "the script's apply timed out after 1 s"),
    ],
)
def test_a_script_that_fails_says_how(host: kit.Host, body: str, reason: str) -> None:
    with pytest.raises(kit.Refused) as refusal:
        SCRIPT.apply(f"#!/bin/sh\n{body}\n".encode(), host)
    assert str(refusal.value) == reason


def test_an_interpreter_that_is_not_there_is_named(host: kit.Host) -> None:
    with pytest.raises(kit.Refused, match=r"^/no/such cannot be run \(No such file or directory\)$"):
        SCRIPT.apply(b"#!/no/such\n", host)


def test_a_verb_that_it_does_not_declare_is_never_run(host: kit.Host, tmp_path: Path) -> None:
    contents = f"#!/bin/sh\necho $1 >>{tmp_path}/ran\n".encode()
    checking = kit.Host({"directory": str(tmp_path)}, check=True)
    assert SCRIPT.apply(contents, checking) == kit.Outcome(True, "the script would run; it knows no check")
    assert not SCRIPT.remove(contents, host).changed
    host.held = contents
    assert SCRIPT.query is not None
    assert SCRIPT.query(host) == ""
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "line", ["# dbmod: verbs remove apply", "// dbmod: verbs apply remove ", "--dbmod: verbs apply  remove\r"]
)
def test_comments_of_other_languages_declare_too(line: str) -> None:
    assert set(NAMES["script_of"](b"#!/x\n" + line.encode() + b"\n").verbs) == {"apply", "remove"}
