"""Every module type found by listing, with the CASES of its own file, used both ways: shipped, and in a playbook.

A new type needs no new test here; what a case may say is in docs/module-types.md.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ansible_runner
import pytest
import yaml

from dbmod import config, errors, module_types, paths
from tests import hosts

SETTINGS = config.Settings(type_directories=(str(hosts.EXAMPLES),))
TYPES = module_types.listing(SETTINGS)
ALL_CASES = [(name, number) for name, found in TYPES.items() for number in range(len(found.cases))]
# Those that need a server are carried out by integration/test_type_sql.py.
CASES = [(name, number) for name, number in ALL_CASES if "server" not in TYPES[name].cases[number]]
GOOD = [(name, number) for name, number in CASES if "refused" not in TYPES[name].cases[number]]
BAD = [(name, number) for name, number in CASES if "refused" in TYPES[name].cases[number]]
KNOWN = {
    *("contents", "refused", "message", "would", "changed", "removed", "files", "after", "after_removed", "canary"),
    "server",
}


def case_of(name: str, number: int) -> dict[str, Any]:
    return TYPES[name].cases[number]


@pytest.fixture(params=hosts.pythons())
def host(request: pytest.FixtureRequest, tmp_path: Path) -> hosts.Host:
    host = hosts.Host(tmp_path, hosts.EXAMPLES)
    host.python = request.param
    return host


def prepare(host: hosts.Host, case: dict[str, Any]) -> None:
    for name, data in case.get("files", {}).items():
        for parent in reversed(host.path(name).relative_to(host.home.parent).parents):
            (host.home.parent / parent).mkdir(mode=0o700, exist_ok=True)
        host.path(name).write_bytes(data)


def files(host: hosts.Host, expected: dict[str, bytes | None]) -> dict[str, bytes | None]:
    return {name: host.path(name).read_bytes() if host.path(name).exists() else None for name in expected}


def apart_from_questions(seen: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Leave out what the stand-in of systemctl writes down: that it was asked something."""
    return {path: facts for path, facts in seen.items() if path not in ("root", "root/systemctl.log")}


def check_no_canary(case: dict[str, Any], *outputs: bytes) -> None:
    canary = case.get("canary", b"\0 no canary")
    for output in outputs:
        assert canary not in output
        assert base64.b64encode(canary)[:-4] not in output


@pytest.mark.parametrize("name", TYPES)
def test_type_has_cases_of_both_kinds_and_documentation(name: str) -> None:
    found = TYPES[name]
    assert [case for case in found.cases if "refused" in case] and [case for case in found.cases if "message" in case]
    assert all(set(case) <= KNOWN for case in found.cases)
    assert all("canary" in case for case in found.cases if found.declares.secret and "message" in case)
    names: dict[str, Any] = module_types.functions(found).apply.__globals__
    documentation = yaml.safe_load(names["DOCUMENTATION"])
    assert documentation["module"] == f"dbmod_{name}"
    assert documentation["short_description"] == found.summary
    assert set(documentation["options"]) == {
        *("contents", "contents_base64", "state", "name", "instance", "module_id", "home"),
    }
    assert yaml.safe_load(names["EXAMPLES"])
    assert {"message", "status"} <= set(yaml.safe_load(names["RETURN"]))


def test_the_tutorial_shows_the_file_that_works() -> None:
    shown = (paths.PACKAGE.parent / "docs/module-types.md").read_text().partition("```python\n")[2].partition("```")[0]
    source = (hosts.EXAMPLES / "dbmod_motd.py").read_text()
    assert [part for part in shown.strip().split("\n\n") if part not in source] == []
    assert "def apply" in shown


@pytest.mark.parametrize(("name", "number"), ALL_CASES)
def test_validation_agrees_with_the_cases(name: str, number: int) -> None:
    case = case_of(name, number)
    if "refused" not in case:
        module_types.validate(TYPES[name], case["contents"])
        return
    with pytest.raises(errors.BadInput) as refusal:
        module_types.validate(TYPES[name], case["contents"])
    assert refusal.value.what == case["refused"]


@pytest.mark.parametrize(("name", "number"), GOOD)
def test_shipped_type_applies_queries_and_removes(host: hosts.Host, name: str, number: int) -> None:
    case, secret = case_of(name, number), TYPES[name].declares.secret
    contents = case["contents"]
    prepare(host, case)
    before = hosts.snapshot(host.home.parent)
    would = host.apply(name, contents, check=True)
    assert apart_from_questions(hosts.snapshot(host.home.parent)) == apart_from_questions(before)
    assert (would.result.status, would.result.changed, would.result.evidence) == ("OK", True, None)
    assert would.result.message == case.get("would", case["message"])
    first = host.apply(name, contents)
    assert (first.result.status, first.result.message, first.result.changed) == ("OK", case["message"], True)
    assert first.result.evidence is not None and first.result.evidence.run == "run-1"
    assert files(host, case.get("after", {})) == case.get("after", {})
    kept = host.folder(name) / "contents.dat"
    assert kept.exists() is not secret
    held = hosts.snapshot(host.home.parent)
    again = host.apply(name, contents, run="run-2", serial=2)
    assert (again.result.status, again.result.message, again.result.changed) == ("OK", case["message"], False)
    own = str(host.folder(name).relative_to(host.home.parent))
    assert {path: seen for path, seen in hosts.snapshot(host.home.parent).items() if not path.startswith(own)} == {
        path: seen for path, seen in held.items() if not path.startswith(own)
    }
    if not secret:
        assert hosts.snapshot(host.folder(name))["contents.dat"] == held[f"{own}/contents.dat"]
    query = host.look("query", name)
    assert (query.result.status, query.result.message, query.result.note) == ("OK", case["message"], "")
    retrieve = host.look("retrieve", name)
    assert retrieve.result.contents == (None if secret else contents)
    removed = host.remove(name, run="run-3", serial=3)
    assert (removed.result.status, removed.result.changed) == ("OK", True)
    assert removed.result.message == case.get("removed", removed.result.message)
    assert removed.result.evidence is not None and removed.result.evidence.removed is not None
    assert removed.result.evidence.created == first.result.evidence.created
    assert not kept.exists()
    assert files(host, case.get("after_removed", {})) == case.get("after_removed", {})
    assert host.remove(name, run="run-4", serial=4).result.changed is False
    every = [would, first, again, query, removed, *([retrieve] if secret else [])]
    check_no_canary(case, *(sent.output + sent.errors for sent in every))
    check_no_canary(case, *(path.read_bytes() for path in host.home.rglob("*") if path.is_file() and secret))


@pytest.mark.parametrize(("name", "number"), BAD)
def test_shipped_type_refuses(host: hosts.Host, name: str, number: int) -> None:
    case = case_of(name, number)
    prepare(host, case)
    sent = host.apply(name, case["contents"])
    assert (sent.result.status, sent.result.message) == ("ERROR", case["refused"])
    assert sent.result.evidence is not None and sent.result.evidence.status == "ERROR"
    check_no_canary(case, sent.output + sent.errors)


def ansible_settings(directory: Path) -> dict[str, str]:
    """Give the environment of a playbook that has nothing of dbmod's but library and module_utils."""
    (directory / "ansible.cfg").write_text("")
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_LIBRARY": f"{paths.content() / 'library'}:{hosts.EXAMPLES}",
        "ANSIBLE_MODULE_UTILS": str(paths.PACKAGE / "hostside"),
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_HOME": str(directory / "ansible"),
    }


in_one_process = pytest.mark.xdist_group("playbook")  # the playbook of all cases takes a minute
STEPS: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("check", {"state": "present"}, True),
    ("apply", {"state": "present"}, False),
    ("again", {"state": "present"}, False),
    ("check removal", {"state": "absent"}, True),
    ("remove", {"state": "absent"}, False),
    ("remove again", {"state": "absent"}, False),
)


def a_play(name: str) -> dict[str, Any]:
    """Write a play that takes every case of a type, one inventory host each, through all steps."""
    arguments = {"contents_base64": "{{ payload }}", "home": "{{ home }}"}
    look = {
        "ansible.builtin.stat": {"path": f"{{{{ home }}}}/instances/{hosts.INSTANCE}/modules/{name}"},
        "name": "after check",
    }
    tasks = [
        {
            "name": step,
            f"dbmod_{name}": {**arguments, **more},
            "check_mode": check,
            "ignore_errors": True,
            **({} if step == "apply" else {"when": "not refused"}),
        }
        for step, more, check in STEPS
    ]
    return {
        "name": name,
        "hosts": name,
        "gather_facts": False,
        "environment": {"DBMOD_TEST_ROOT": "{{ root }}", "PATH": f"{hosts.STAND_INS}:{os.environ['PATH']}"},
        "tasks": [tasks[0], look, *tasks[1:]],
    }


@pytest.fixture(scope="module")
def playbook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[tuple[str, str], Any], Path, str]]:
    """Run the cases as ordinary Ansible modules; give results by (inventory host, step), and all that was printed."""
    top = tmp_path_factory.mktemp("playbook")
    inventory: dict[str, Any] = {name: {"hosts": {}} for name in TYPES}
    for name, number in CASES:
        host = hosts.Host(top / f"{name}-{number}")
        prepare(host, case_of(name, number))
        inventory[name]["hosts"][f"{name}-{number}"] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "payload": base64.b64encode(case_of(name, number)["contents"]).decode(),
            "refused": "refused" in case_of(name, number),
            "home": str(host.home),
            "root": str(host.root),
        }
    (top / "inventory.json").write_text(json.dumps(inventory))
    (top / "play.yml").write_text(json.dumps([a_play(name) for name in TYPES]))
    (top / "run").mkdir()
    results: dict[tuple[str, str], Any] = {}

    def keep(event: dict[str, Any]) -> bool:
        if event["event"] in ("runner_on_ok", "runner_on_failed"):
            failed = event["event"] == "runner_on_failed"
            data = event["event_data"]
            results[data["host"], data["task"]] = {**data["res"], "failed": failed}
        return True

    ended = ansible_runner.run(
        private_data_dir=str(top / "run"),
        playbook=str(top / "play.yml"),
        inventory=str(top / "inventory.json"),
        envvars=ansible_settings(top),
        verbosity=3,
        quiet=True,
        event_handler=keep,
    )
    assert ended.rc == 0, ended.stdout.read()
    yield results, top, "".join(path.read_text() for path in (top / "run/artifacts").rglob("*") if path.is_file())


@in_one_process
@pytest.mark.parametrize(("name", "number"), GOOD)
def test_module_in_a_playbook_applies_and_removes(playbook: Any, name: str, number: int) -> None:
    results, top, _ = playbook
    case, where = case_of(name, number), f"{name}-{number}"
    said = {step: results[where, step] for step, _, _ in STEPS}
    assert {step: (result["changed"], result["failed"]) for step, result in said.items()} == {
        "check": (True, False),
        "apply": (True, False),
        "again": (False, False),
        "check removal": (True, False),
        "remove": (True, False),
        "remove again": (False, False),
    }
    assert results[where, "after check"]["stat"]["exists"] is False
    assert said["check"]["message"] == case.get("would", case["message"])
    assert {said[step]["message"] for step in ("apply", "again")} == {case["message"]}
    assert said["remove"]["message"] == case.get("removed", said["remove"]["message"])
    host_files = {
        path: (top / where / ("root" + path if path.startswith("/") else f"home/instances/{hosts.INSTANCE}/{path}"))
        for path in case.get("after_removed", {})
    }
    assert {path: real.read_bytes() if real.exists() else None for path, real in host_files.items()} == case.get(
        "after_removed", {}
    )


@in_one_process
@pytest.mark.parametrize(("name", "number"), BAD)
def test_module_in_a_playbook_refuses(playbook: Any, name: str, number: int) -> None:
    results, _, _ = playbook
    result = results[f"{name}-{number}", "apply"]
    assert (result["failed"], result["msg"]) == (True, case_of(name, number)["refused"])
    assert result.get("invocation", {}) == {}  # core 2.21 leaves it out


@in_one_process
def test_a_second_run_of_any_type_changes_nothing(playbook: Any, figure: Callable[[str, str], None]) -> None:
    results, _, _ = playbook
    again = [results[f"{name}-{number}", step] for name, number in GOOD for step in ("again", "remove again")]
    assert [result for result in again if result["changed"] or result["failed"]] == []
    figure("R8", f"module types: changed=0 in {len(again)} of {len(again)} second runs")


@in_one_process
def test_playbook_shows_no_secret(playbook: Any, figure: Callable[[str, str], None]) -> None:
    _, _, printed = playbook
    secret = [case_of(name, number) for name, number in CASES if "canary" in case_of(name, number)]
    for case in secret:
        assert case["canary"].decode() not in printed
        assert base64.b64encode(case["contents"]).decode() not in printed
    figure("R15", f"module types: 0 hits of {len(secret)} canaries, raw and base64, in a runner's artifacts at -vvv")


def test_wrong_arguments_are_refused_without_their_values(tmp_path: Path) -> None:
    wrong = [
        {"contnets": "CANARY"},
        {"contents": {"x": "CANARY"}},
        {"contents": "message=1", "contents_base64": "CANARY"},
        {"contents_base64": "CANARY!"},
        {"contents": "message=1", "state": "CANARY"},
        {"contents": "message=1", "instance": "../CANARY"},
        {"contents": "message=1", "module_id": ["CANARY"]},
        {"contents": "message=1", "name": "CANARY\n"},
        {},
    ]
    tasks = [
        {"dbmod_ping": {"home": str(tmp_path / "h"), **arguments}, "ignore_errors": True, "register": f"r{number}"}
        for number, arguments in enumerate(wrong)
    ]
    registered = ", ".join(f"r{number}" for number in range(len(wrong)))
    shown = {"ansible.builtin.copy": {"content": f"{{{{ [{registered}] }}}}", "dest": str(tmp_path / "said")}}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [*tasks, shown]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {**os.environ, **ansible_settings(tmp_path)}
    subprocess.run([program, str(tmp_path / "play.yml")], env=environment, capture_output=True, check=True)
    said = json.loads((tmp_path / "said").read_text())
    assert [result["failed"] for result in said] == [True] * len(wrong)
    assert "CANARY" not in (tmp_path / "said").read_text()
    assert not (tmp_path / "h").exists()
