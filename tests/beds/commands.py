"""Run the system's commands; a failure says what was run and what it said."""

import subprocess


def run(*command: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    text  goes to its standard input
    """
    ended = subprocess.run(command, input=text or "", capture_output=True, text=True, check=False)
    if check and ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr or ended.stdout}")
    return ended


def within(namespace: str, *command: str) -> tuple[str, ...]:
    """Make a command that runs in a named network namespace, and keeps this machine's mounts."""
    return ("nsenter", f"--net=/run/netns/{namespace}", "--", *command)
