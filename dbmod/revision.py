"""Which commit a directory of a git checkout is at. git is asked; it changes nothing and runs nothing there."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

PATIENCE_SECONDS = 60
PROGRAM = ("git", "-c", "core.fsmonitor=false")  # a checkout's own configuration may name a program here


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a checkout."""

    prefix: str  # of the directory inside the checkout: empty, or with a slash at its end
    commit: str
    is_dirty: bool  # something differs from the commit, or one of the files is not in it


def of(directory: Path, files: Sequence[Path]) -> Revision | None:
    """Give the revision of a directory, None where no git checkout is, it has no commit yet, or git is not there.

    files  absolute; they have to be in the commit for the revision to be clean, ignored or not
    """
    told = _asked(directory, "rev-parse", "--show-prefix", "HEAD")
    lines = told.splitlines() if told is not None else []
    if len(lines) != 2:
        return None
    changes = _asked(directory, "status", "--porcelain", "--untracked-files=normal")
    tracked = _asked(directory, "ls-files", "--error-unmatch", "--", *map(str, files))
    return Revision(prefix=lines[0], commit=lines[1], is_dirty=changes != "" or tracked is None)


def _asked(directory: Path, *words: str) -> str | None:
    """Give what git answers, None where it refuses."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(
            [*PROGRAM, *words],
            cwd=directory,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode(errors="replace") if answer.returncode == 0 else None
