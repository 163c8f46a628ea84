"""AWX's own rules, where no AWX can run: how it finds playbooks and injects credentials; awx/*.yml as Ansible reads it.

Written from AWX's source, awx/main/utils/ansible.py and awx/main/models/credential.py; 24.6.1 and later agree in this.
"""

import functools
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import sandbox

ROOT = Path(__file__).resolve().parents[1]
DATA = ("settings", "objects", "job_templates")
PLAYBOOK = re.compile(r"^\s*?-?\s*?(?:hosts|include|(?:ansible\.builtin\.)?import_playbook):\s*?.*?$")
SKIPPED = ("group_vars", "host_vars", "roles", "tasks")
CONTAINER = "/runner"  # where a job sees its private directory


@functools.cache
def data() -> dict[str, Any]:
    """Give the variables of awx/*.yml as modules get them: templates filled in, !unsafe texts as they are."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    loader = DataLoader()
    variables: dict[str, Any] = {}
    for name in DATA:
        variables |= loader.load_from_file(str(ROOT / "awx" / f"{name}.yml"), trusted_as_template=True)
    return {name: Templar(loader, variables).template(value) for name, value in variables.items()}


def template(name: str) -> dict[str, Any]:
    """Give the job template of that name."""
    [found] = [one for one in data()["controller_templates"] if one["name"] == name]
    return dict(found)


def files(project: Path = ROOT) -> list[str]:
    """List the files of a project that a clone of it will have, uncommitted ones too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout.splitlines()
    return [one for one in listed if (project / one).is_file()]


def offered_playbooks(project: Path = ROOT) -> set[str]:
    """Give what AWX offers as playbooks of this project."""
    return {name for name in files(project) if _is_offered(project, name)}


def _is_offered(project: Path, name: str) -> bool:
    path = Path(name)
    folders = path.parts[:-1]
    if path.suffix not in (".yml", ".yaml") or any(one in SKIPPED or one.startswith(".") for one in folders):
        return False
    lines = (project / name).read_text(encoding="utf-8", errors="ignore").splitlines()
    return "".join(lines[:1]).startswith("$ANSIBLE_VAULT;") or any(PLAYBOOK.match(line) for line in lines)


def inject(kind: str, inputs: Mapping[str, Any], private: Path) -> dict[str, str]:
    """Do what AWX does with a credential: write its files into env/ of the private directory.

    kind     name of a type in awx/objects.yml
    Returns  the environment that the job gets, with paths as they are here
    """
    [found] = [one for one in data()["controller_credential_types"] if one["name"] == kind]
    known: dict[str, Any] = {one["id"]: False for one in found["inputs"]["fields"] if one["type"] == "boolean"}
    known |= {name: value for name, value in inputs.items() if value != ""}
    jinja = sandbox.ImmutableSandboxedEnvironment()
    places: dict[str, str] = {}
    (private / "env").mkdir(mode=0o700, exist_ok=True)
    for label, text in found["injectors"].get("file", {}).items():
        name = label.partition(".")[2]
        path = private / "env" / f"tmp{kind.replace(' ', '')}{name}"
        path.touch(mode=0o600)
        path.write_text(jinja.from_string(str(text)).render(**known), encoding="utf-8")
        places[name] = str(path)
    known["tower"] = {"filename": places}
    environment = {
        name: jinja.from_string(str(text)).render(**known) for name, text in found["injectors"].get("env", {}).items()
    }
    return {name: text.replace(CONTAINER, str(private)) for name, text in environment.items()}
