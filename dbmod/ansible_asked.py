"""Ansible itself, asked about files of the user's: its inventories, its tasks. Nothing runs on a host."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from dbmod import errors, paths

PATIENCE_SECONDS = 300  # an inventory plugin may ask a cloud


def ask(
    program: str,
    words: Sequence[str],
    *,
    about: str,
    environment: Mapping[str, str] | None = None,
    is_within: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible: adhoc, playbook.

    about        what it is asked about, for an error
    environment  more of it
    is_within    ansible-playbook itself asks, whose settings may be another file's than those of dbmod's own runs
    Raises       Failed where it cannot be run, or takes too long
    """
    command = [sys.executable, "-P", "-m", "ansible", program, *words]  # -P: a directory `ansible` here is not it
    settings = {} if is_within else {"ANSIBLE_CONFIG": str(paths.content() / "ansible.cfg")}
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_SECONDS,
            check=False,
            env={**os.environ, **settings, "ANSIBLE_NOCOLOR": "True", **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise errors.Failed(f"Ansible could not be asked about {about} ({type(error).__name__}).") from error


def reason(said: str) -> str:
    """Give the line that says most: Ansible's own last error, without the attempts of every plugin before it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith("[ERROR]")] or lines[-1:]
    return failed[-1].removeprefix("[ERROR]:").strip()[:300] if failed else "it gave no reason"
