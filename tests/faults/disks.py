"""Small disks that get full."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def small_tmpfs(place: Path, *, size_bytes: int) -> Iterator[None]:
    """Mount a tmpfs of this size; needs root."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def grow(place: Path, *, size_bytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size_bytes}", place], check=True)
