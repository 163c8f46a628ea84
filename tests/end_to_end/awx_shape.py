"""A job as AWX runs one, without an AWX: private directory, environment, variables, and a project that is thrown away.

Written from AWX's source, awx/main/tasks/jobs.py. The ledger is whatever the site's environment names: its home, or a
database where the site was made with DBMOD_LEDGER. What AWX keeps between jobs is here the inventory alone.
"""

import configparser
import json
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dbmod import vault
from tests import awx
from tests.end_to_end.sites import BIN, PATIENCE_SECONDS, Site

JOB = 42
USER = "alice"
REVISION = "1a2b3c4d5e6f"
ENVIRONMENT = {
    "ANSIBLE_FORCE_COLOR": "True",
    "ANSIBLE_HOST_KEY_CHECKING": "False",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
    "ANSIBLE_RETRY_FILES_ENABLED": "False",
    "ANSIBLE_SSH_CONTROL_PATH_DIR": "/runner/cp",
    "AWX_HOST": "https://awx.example.org",
    "AWX_PRIVATE_DATA_DIR": "/runner",
    "INVENTORY_ID": "3",
    "JOB_ID": str(JOB),
    "MAX_EVENT_RES": "700000",
    "PROJECT_REVISION": REVISION,
}
# Lists of directories: a key of the project's ansible.cfg, which goes before the rest, and AWX's own first.
PATHS = {
    "callback_plugins": "/runner/plugins_path:{}:~/.ansible/plugins:/usr/share/ansible/plugins/callback",
    "collections_path": "/runner/requirements_collections:{}:~/.ansible/collections",
    "roles_path": "/runner/requirements_roles:{}:~/.ansible/roles:/usr/share/ansible/roles",
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a job did.

    artifacts  what it hands on to the next node of a workflow, and to a notification
    written    all that AWX keeps of it: output, events, the command with its environment
    """

    code: int
    out: str
    artifacts: dict[str, Any]
    written: str


class Controller:
    """An AWX with one inventory, synced from the project's source whenever a job starts.

    project  a clone of it is here
    sources  inventories that AWX has besides, whose hosts bear the instances' names
    without  variables of the site that the jobs do not get
    """

    def __init__(
        self,
        site: Site,
        *,
        project: Path = awx.ROOT,
        sources: Sequence[Path] = (),
        without: Collection[str] = (),
    ) -> None:
        self.site = site
        self.project = project
        self.sources = sources
        self.without = without

    def launch(
        self,
        name: str,
        answers: Mapping[str, Any],
        *,
        limit: str = "",
        check: bool = False,
        after: Job | None = None,
    ) -> Job:
        """Start a job template.

        name     of a template in awx/job_templates.yml
        answers  to its survey; a question without one has its default, which may be empty
        after    the job of the same workflow whose artifacts this one gets
        """
        template = awx.template(name)
        with tempfile.TemporaryDirectory(prefix="awx_42_", dir=self.site.directory) as directory:
            private = Path(directory)
            self._copy_project(private / "project")
            before = _listing(private / "project")
            environment = self._environment(private)
            self._write_inventory(private, environment)
            self._write_variables(private, template, answers, after.artifacts if after else {})
            job_type = "check" if check else template["job_type"]
            words = ["-u", "root", *(["--check"] if job_type == "check" else []), *(["-l", limit] if limit else [])]
            (private / "env" / "cmdline").write_text(" ".join(words))
            (private / "env" / "settings").write_text(json.dumps({"job_timeout": 0, "suppress_ansible_output": False}))
            done = self._run(private, template["playbook"], environment)
            assert _listing(private / "project") == before, "a job wrote into its project, which is thrown away"
            return self._ended(private, done)

    def _copy_project(self, place: Path) -> None:
        """Copy the clone without its .git."""
        for name in awx.files(self.project):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.project / name, place / name)

    def _environment(self, private: Path) -> dict[str, str]:
        """Give a job's environment: AWX's, the execution environment's, and what the credentials inject."""
        own = {
            name: value
            for name, value in self.site.environment.items()
            if name.startswith(("DBMOD_", "PG")) and name not in self.without
        }
        settings = configparser.ConfigParser()
        settings.read(private / "project" / "ansible.cfg")
        lists = {
            f"ANSIBLE_{name.upper()}": text.format(settings.get("defaults", name, fallback="")).replace("::", ":")
            for name, text in PATHS.items()
        }
        place = {name: text.replace(awx.CONTAINER, str(private)) for name, text in (ENVIRONMENT | lists).items()}
        image = {"PATH": f"{BIN}:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(private), "LANG": "C.UTF-8"}
        credentials: dict[str, str] = {}
        if address := own.pop("DBMOD_LEDGER", ""):
            address = Path(address).read_text() if address.startswith("/") else address
            tenant, admin = own.pop("DBMOD_TENANT", ""), own.pop("DBMOD_ADMIN", "") == "true"
            credentials |= awx.inject("dbmod ledger", {"ledger": address, "tenant": tenant, "admin": admin}, private)
            credentials |= {name: own[name] for name in own if name.startswith("PG")}
            own.pop("DBMOD_HOME", None)  # a job's own home is thrown away with it
        keys = vault.keys(self.site.settings)
        if keys:
            credentials |= awx.inject("dbmod contents key", {"key": keys[0].line}, private)
        return image | own | place | credentials

    def _write_inventory(self, private: Path, environment: Mapping[str, str]) -> None:
        """Sync the inventory, and write it as the script that AWX makes of it."""
        command = [
            "ansible-inventory",
            *(word for source in self.sources for word in ("-i", str(source))),
            "-i",
            "inventory/dbmod.yml",
            "--list",
            "--export",
            "--playbook-dir",
            "inventory",
        ]
        synced = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=private / "project",
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert synced.returncode == 0, synced.stderr
        (self.site.home / "known_hosts").unlink(missing_ok=True)  # a sync's home is not the job's
        found = json.loads(synced.stdout)
        hosts = found["_meta"]["hostvars"]
        for number, known in enumerate(hosts.values(), start=1):
            known |= {"remote_tower_enabled": "true", "remote_tower_id": number}
        shown = found | {"all": found.get("all", {}) | {"hosts": sorted(hosts, reverse=True)}}  # AWX keeps no order
        script = private / "inventory" / "hosts"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#! /usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint({json.dumps(shown)!r})\n")
        script.chmod(0o700)

    def _write_variables(
        self, private: Path, template: Mapping[str, Any], answers: Mapping[str, Any], artifacts: Mapping[str, Any]
    ) -> None:
        """Write env/extravars: every text !unsafe, AWX's own variables by both their names."""
        questions = template["survey_spec"]["spec"]
        assert set(answers) <= {one["variable"] for one in questions}, "AWX takes only what the survey asks for"
        told = {
            "job_id": JOB,
            "job_launch_type": "manual",
            "job_template_id": 7,
            "job_template_name": template["name"],
            "project_revision": REVISION,
            "user_name": USER,
            "inventory_id": 3,
        }
        given = {one["variable"]: one["default"] for one in questions} | dict(answers) | dict(artifacts)
        given |= {f"{prefix}_{name}": value for prefix in ("awx", "tower") for name, value in told.items()}
        lines = [
            f"!unsafe {json.dumps(name)}: {'!unsafe ' if isinstance(value, str) else ''}{json.dumps(value)}"
            for name, value in given.items()
        ]
        (private / "env" / "extravars").write_text("\n".join(lines))

    def _run(self, private: Path, playbook: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        (private / "cp").mkdir(mode=0o700, exist_ok=True)
        (private / "env" / "envvars").write_text(json.dumps(environment))
        command = [str(BIN / "ansible-runner"), "run", str(private), "-p", playbook, "--ident", str(JOB)]
        return subprocess.run(
            command,
            cwd=private,
            env={"PATH": environment["PATH"], "HOME": environment["HOME"], "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def _ended(self, private: Path, done: subprocess.CompletedProcess[str]) -> Job:
        events = (private / "artifacts" / str(JOB) / "job_events").glob("*-*.json")
        shown = [json.loads(one.read_text()) for one in events]
        ends = [one["event_data"] for one in shown if one["event"] == "playbook_on_stats"]
        kept = [one.read_text() for one in sorted((private / "artifacts").rglob("*")) if one.is_file()]
        return Job(
            code=done.returncode,
            out=done.stdout + done.stderr,
            artifacts=ends[-1].get("artifact_data", {}) if ends else {},
            written="\n".join([done.stdout, done.stderr, *kept]),
        )


def _listing(directory: Path) -> set[str]:
    """List what is in a project, without what Python caches there."""
    return {str(one) for one in directory.rglob("*") if "__pycache__" not in one.parts}
