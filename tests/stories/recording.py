"""What a story tells: on the terminal while it happens, and in a file of the documentation afterwards."""

import re
import subprocess
import sys
from pathlib import Path

from dbmod.demo import Story

WIDTH = 160
LINES_LIMIT = 14  # of one command in the file; the terminal shows all
HEAD = "<!-- Written by `make demo-rollout`: what one run of it printed. -->\n\n# A rollout, as it happened\n"
BOLD, FAINT, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Recording:
    """Shows and keeps; nothing in it knows what the story is about."""

    def __init__(self) -> None:
        self.parts = [HEAD]

    def chapter(self, title: str) -> None:
        print(f"\n{BOLD}{title}\n{'=' * len(title)}{PLAIN}", flush=True)
        self.parts.append(f"\n## {title}\n")

    def text(self, said: str) -> None:
        print(f"    {FAINT}{said}{PLAIN}", flush=True)
        self.parts.append(f"\n{said}\n")

    def command(self, words: str) -> None:
        print(f"\n{BOLD}$ {words}{PLAIN}", flush=True)
        self.parts.append(f"\n```console\n$ {words}\n")

    def carry_out(self, story: Story, command: str) -> int:
        """Run a command without a terminal, and show what it prints. Returns its exit code."""
        lines = []
        with subprocess.Popen(
            story.shell(command),
            cwd=story.directory,
            env=story.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(COLOUR.sub("", line).rstrip()[:WIDTH])
        self.parts.extend(f"{line}\n" for line in _shortened(lines))
        self.parts.append("```\n")
        return process.returncode

    def write(self, path: Path) -> None:
        path.write_text("".join(self.parts), encoding="utf-8")


def _shortened(lines: list[str]) -> list[str]:
    over = len(lines) - LINES_LIMIT
    if over <= 0:
        return lines
    half = LINES_LIMIT // 2
    return [*lines[:half], "…", *lines[-half:]]
