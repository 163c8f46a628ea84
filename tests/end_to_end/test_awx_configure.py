"""playbooks/awx/configure.yml with the real modules of awx.awx, against a stand-in for the API: tests/controller.py."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import awx, controller
from tests.end_to_end.sites import BIN

PLAYBOOK = awx.ROOT / "playbooks" / "awx" / "configure.yml"
SECONDS = 400
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]


def configure(address: str, directory: Path, **environment: str) -> str:
    known = {name: os.environ[name] for name in ("LANG", "HOME") if name in os.environ}
    given = {
        "ANSIBLE_INJECT_FACT_VARS": "False",
        "CONTROLLER_HOST": address,
        "CONTROLLER_OAUTH_TOKEN": "x",
        "PATH": f"{BIN}:/usr/bin:/bin",
    }
    ended = subprocess.run(
        [str(BIN / "ansible-playbook"), str(PLAYBOOK)],
        cwd=awx.ROOT,
        env=known | given | {"ANSIBLE_LOCAL_TEMP": str(directory), "ANSIBLE_REMOTE_TEMP": str(directory)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "is unsafe" not in ended.stderr
    return ended.stdout


def test_an_empty_awx_becomes_what_the_files_say_and_stays_so(tmp_path: Path) -> None:
    wanted = awx.data()
    with controller.running("/api/") as (made, address):
        configure(address, tmp_path)
        for endpoint, variable in (
            ("credential_types", "controller_credential_types"),
            ("job_templates", "controller_templates"),
            ("teams", "aap_teams"),
            ("workflow_job_templates", "controller_workflows"),
        ):
            assert made.names(endpoint) == sorted(one["name"] for one in wanted[variable])
        nodes = made.items["workflow_job_template_nodes"].values()
        assert len(nodes) == sum(len(one["workflow_nodes"]) for one in wanted["controller_workflows"])
        assert {one["limit"] for one in nodes if one["identifier"] == "canary"} == {wanted["dbmod_awx_canary"]}
        [kind] = [one for one in made.items["credential_types"].values() if one["name"] == "dbmod contents key"]
        assert kind["injectors"]["env"] == {"DBMOD_KEY_COMMAND": "cat {{ tower.filename.key }}"}
        assert len(made.surveys) == len(wanted["controller_templates"]) + len(wanted["controller_workflows"])
        said = configure(address, tmp_path)
    changed = re.findall(r"^changed: .*", said, re.MULTILINE)
    assert changed == []


def test_the_platform_is_reached_under_its_prefix_and_keeps_its_organizations(tmp_path: Path) -> None:
    wanted = awx.data()
    with controller.running("/api/controller/") as (made, address):
        own = made.add("organizations", {"name": wanted["dbmod_awx_organization"]})
        for one in wanted["aap_teams"]:
            made.add("teams", {"name": one["name"], "organization": own["id"]})
        configure(address, tmp_path, CONTROLLER_OPTIONAL_API_URLPATTERN_PREFIX="/api/controller/")
        assert made.names("job_templates") == sorted(one["name"] for one in wanted["controller_templates"])
        changed = {path.split("/")[4] for method, path in made.requests if method != "GET"}
        assert not changed & {"organizations", "teams"}
