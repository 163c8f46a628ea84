"""What the beds are made from: built once a machine, kept by the digest of what builds it."""

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.beds.commands import run
from tests.beds.slots import CACHE

KEPT_SECONDS = 14 * 86400
RELEASE = "debian-12"  # of all machines, unless a test asks for another
SCRIPTS = Path(__file__).parent
SERVICES = SCRIPTS / "services"


def images(release: str = RELEASE) -> Path:
    """Say where the root file systems are: plain/, databases/, *.squashfs, versions; builds them if need be."""
    script = SCRIPTS / "build_images.sh"
    return _built("images", [script], lambda directory: _run_script(script, directory, release), of=release)


def image(name: str, release: str = RELEASE) -> Path:
    return images(release) / name


def services() -> Path:
    """Say where the cloud's services are: environment/ and schemas.tar; builds them if need be."""
    names = ("constraints.txt", "build_services.sh", "build_schemas.sh", "common.sh", "configure.sh", "osbox/seed.py")
    inputs = [SERVICES / name for name in names]
    return _built("services", inputs, lambda directory: _run_script(SERVICES / "build_services.sh", directory))


def _built(kind: str, inputs: list[Path], build: Callable[[Path], None], *, of: str = "") -> Path:
    """Find or build a directory of the cache; half ones, and those that nobody used for long, are removed.

    It has its name before it is whole, because virtual environments cannot be moved; the file `complete` is written
    last, and touched with every use.

    of  which one, where the same inputs build several
    """
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in inputs) + of.encode()).hexdigest()[:12]
    directory = CACHE / f"{kind}-{digest}"
    if not (directory / "complete").exists():
        with _locked(kind):
            if not (directory / "complete").exists():
                for old in filter(_is_useless, CACHE.glob(f"{kind}-*")):
                    run("rm", "-rf", "--one-file-system", str(old))
                directory.mkdir(parents=True)
                build(directory)
                (directory / "complete").touch()
    os.utime(directory / "complete")
    return directory


def _is_useless(directory: Path) -> bool:
    """Tell whether a directory is half built, or was not used for long (another checkout may need another one)."""
    complete = directory / "complete"
    return not complete.exists() or time.time() - complete.stat().st_mtime > KEPT_SECONDS


def _run_script(script: Path, directory: Path, *words: str) -> None:
    python = getattr(sys, "_base_executable", sys.executable)
    ended = run("nice", "env", f"PYTHON={python}", str(script), str(directory), *words, check=False)
    (directory / "log").write_text(ended.stdout + ended.stderr)
    if ended.returncode:
        tail = "\n".join((ended.stdout + ended.stderr).splitlines()[-20:])
        raise RuntimeError(f"{script.name} failed:\n{tail}\n  next    read {directory}/log")


@contextmanager
def _locked(kind: str) -> Iterator[None]:
    """Let one process of this machine build at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(CACHE / f"{kind}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
