"""Write docs/playbooks.md from the playbooks' headers and specifications; a contract test checks that it is current."""

import re
from pathlib import Path
from typing import Any

from dbmod import paths, variables

TARGET = Path(__file__).resolve().parent.parent / "docs" / "playbooks.md"
PARTS = ("On hosts", "Variables", "Example")
HEAD = """# With ansible-playbook

Made by `make docs` from the playbooks' own headers and from `playbooks/argument_specs/`; do not edit.

The playbooks stand on their own: `ansible-playbook` in dbmod's directory does what the command does. Each plans its run
by its own first task, does the work on the hosts, and writes the ledger (`DBMOD_HOME`). Every run is in
`dbmod run-list`, with who started it and `-e reason=…`.

* **Variables** come from `-e` or from the `vars` of your own playbook that imports one of these. Variables of your
  inventory are never taken for them. An empty one is unset. A list is given as `-e '{"modules": ["a", "b"]}'`, names
  also as `-e modules=a,b`. Ansible warns that `name` and `delay` are words of its own; it does no harm here.
* **Your own inventory** goes in front of dbmod's: `-i hosts.ini -i inventory/dbmod.yml`. A run is refused where a group
  or another host in it bears the name of one of its instances.
* **`--limit`** narrows what a run may touch; an instance outside of it that is named is refused. What makes instances
  refuses `--limit`, as they are not there yet.
* **`--check`** plans nothing and asks nobody: the first task says what would be done. Only `module_apply`,
  `module_remove` and `module_reapply` ask the hosts what would change; that is a run of its own in the history, whose
  attempts are `skipped`, and moves no live row. **`--diff`** shows digests, never contents.
* **What deletes** wants the name once more, as `-e confirm=NAME`.
* **Passwords** are no variables: `users` is refused. The administrator's password is made by dbmod, and
  `dbmod password INSTANCE` shows it. The login to OpenStack is taken from `clouds.yaml` or `OS_*`, as the command does.
* **AWX**: the job, its template, the user and the project's revision become the run's actor. A sliced job is refused.
* `dbmod` itself runs these files with the run it planned as their only variable, `dbmod_run`.
"""


def header(playbook: str) -> dict[str, str]:
    """Read a playbook's header. Returns {"Title": …, "On hosts": …, "Variables": …, "Example": …}"""
    found: dict[str, str] = {}
    part = "Title"
    for line in paths.playbook(playbook).read_text(encoding="utf-8").splitlines()[1:]:
        if not line.startswith("#"):
            break
        text = line.removeprefix("#")
        named = next((name for name in PARTS if text.startswith(f" {name} ")), None)
        part = named or part
        text = text.removeprefix(f" {named}").strip()
        found[part] = f"{found.get(part, '')} {text}".strip()
    return found


def names_in(text: str) -> set[str]:
    """Give the variables that a header names: its words, but for what stands in brackets and the words between."""
    words = re.findall(r"[a-z][a-z0-9_]*", re.sub(r"\([^)]*\)", "", text))
    return set(words) - {"or", "several", "by", "is", "refused"}


def reference() -> str:
    """Give the whole page."""
    every = playbooks()
    index = [f"* [`{name}`](#{name}) {header(name)['Title']}" for name in every]
    return "\n".join([HEAD, *index, "", *(_section(name) for name in every)])


def playbooks() -> list[str]:
    return sorted(path.stem for path in (paths.content() / "playbooks").glob("*.yml"))


def _section(name: str) -> str:
    told = header(name)
    lines = [f"## {name}", "", told["Title"], "", f"**On hosts:** {told['On hosts']}", "", "```console"]
    lines += [f"$ {told['Example']}", "```", ""]
    if name in variables.playbooks():
        lines += ["| variable | type | |", "| --- | --- | --- |"]
        lines += _rows(variables.specification(name)["options"])
    else:
        lines += [f"Variables: {told['Variables']}"]
    return "\n".join([*lines, ""])


def _rows(options: dict[str, Any], inside: str = "") -> list[str]:
    rows = []
    for name, option in options.items():
        kind = f"{option['type']} of {option['elements']}" if "elements" in option else option["type"]
        notes = [option["description"]]
        notes += [f"One of {', '.join(option['choices'])}."] if "choices" in option else []
        notes += ["**Needed.**"] if option.get("required") else []
        notes += [f"Default {str(option['default']).lower()}."] if "default" in option else []
        rows += [f"| `{inside}{name}` | {kind} | {' '.join(notes).replace('|', chr(92) + '|').replace('<', '&lt;')} |"]
        rows += _rows(option.get("options", {}), f"{inside}{name}[].")
    return rows


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
