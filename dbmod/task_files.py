"""The user's own files of tasks, done around each host: tried before anything is touched.

Ansible reads such a file when the first batch is at work. Where it cannot, all hosts of that batch are `unknown`,
although nothing came to them.
"""

import re
import tempfile
from pathlib import Path

import msgspec

from dbmod import ansible_asked, errors, paths
from dbmod.paces import Pace

ENCRYPTED = b"$ANSIBLE_VAULT;"
ORIGIN = re.compile(r"^Origin: (.+)$", re.MULTILINE)


def refuse_unusable(pace: Pace, *, is_within: bool = False) -> None:
    """Refuse files of tasks that Ansible cannot read, or that name a module it does not have.

    What one comes to on a host is not known yet; nor is what is in a file that is encrypted as a whole, or not there,
    which `paces.refuse_nonsense` says.
    is_within  see ansible_asked.ask
    Raises     BadInput
    """
    for option, file in (("--before-host", pace.before_host), ("--after-host", pace.after_host)):
        path = Path(file)
        if not file or not paths.is_readable_file(path) or path.read_bytes().startswith(ENCRYPTED):
            continue
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.import_tasks": file}]}
        with tempfile.TemporaryDirectory() as directory:
            playbook = Path(directory) / "play.json"
            playbook.write_bytes(msgspec.json.encode([play]))
            words = ["--inventory", "localhost,", "--syntax-check", str(playbook)]
            answer = ansible_asked.ask("playbook", words, about=file, is_within=is_within)
        if answer.returncode:
            place = ORIGIN.search(answer.stderr)
            raise errors.BadInput(
                f"{option}: {file} is no list of tasks that Ansible takes; nothing was done.",
                details={"ansible": ansible_asked.reason(answer.stderr)} | ({"at": place[1]} if place else {}),
            )
