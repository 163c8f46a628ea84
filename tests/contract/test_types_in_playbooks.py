"""Every module type found by listing, as an ordinary Ansible module in a playbook of somebody else's."""

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

from dbmod import paths, type_trials
from tests import hosts
from tests.contract.test_module_types import BAD, CASES, GOOD, TYPES, case_of


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
        type_trials.prepare(host, case_of(name, number))
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


@pytest.mark.parametrize(("name", "number"), BAD)
def test_module_in_a_playbook_refuses(playbook: Any, name: str, number: int) -> None:
    results, _, _ = playbook
    result = results[f"{name}-{number}", "apply"]
    assert (result["failed"], result["msg"]) == (True, case_of(name, number)["refused"])
    assert result.get("invocation", {}) == {}  # core 2.21 leaves it out


def test_a_second_run_of_any_type_changes_nothing(playbook: Any, figure: Callable[[str, str], None]) -> None:
    results, _, _ = playbook
    again = [results[f"{name}-{number}", step] for name, number in GOOD for step in ("again", "remove again")]
    assert [result for result in again if result["changed"] or result["failed"]] == []
    figure("R8", f"module types: changed=0 in {len(again)} of {len(again)} second runs")


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
