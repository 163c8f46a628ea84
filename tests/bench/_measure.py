"""Timing two commands side by side: A B A B …, so that a machine that slows down slows both."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired(first: Callable[[], object], second: Callable[[], object], *, pairs: int) -> tuple[float, float, float]:
    """Run two things in turn, after one warm-up of each.

    Returns  median seconds of the first, of the second, and the median of the ratios second/first
    """
    first(), second()
    times = [(seconds(first), seconds(second)) for _ in range(pairs)]
    ratios = [after / before for before, after in times]
    return (
        statistics.median(before for before, _ in times),
        statistics.median(after for _, after in times),
        statistics.median(ratios),
    )


def command(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Callable[[], None]:
    """Give a function that runs a command to its end, output thrown away; it has to succeed."""

    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as users'

    def run() -> None:
        subprocess.run(
            words, env=inherited | dict(environment or {}), check=True, capture_output=True, stdin=subprocess.DEVNULL
        )

    return run


def dbmod(*words: str, home: str, **environment: str) -> Callable[[], None]:
    return command([sys.executable, "-m", "dbmod", *words], {"DBMOD_HOME": home} | environment)


def headline(title: str) -> None:
    """Say what is measured and on what machine."""
    print(f"\n{title}\n  {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


def report(label: str, first: float, second: float, ratio: float, *, aim: float) -> None:
    verdict = "within" if ratio <= aim else "OVER"
    print(f"  {label:<40} {first * 1000:8.1f} ms {second * 1000:8.1f} ms   ratio {ratio:5.2f}   {verdict} {aim:g}")
