"""A host for trials of module types: a scratch home and root on this machine, reached by the real command and frame.

Files are redirected below it; systemctl is a stand-in that remembers what it was told. Other programs are real.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from dbmod import config, module_types, paths, transport

STAND_INS = paths.PACKAGE / "stand_ins"
INSTANCE = "standalone"
MODULE = "0065a8ed-0668-4db5-a4ad-d88d0a166388"


def pythons() -> list[str]:
    """List the interpreters that hosts may have and this machine really has: its own, and the oldest and newest."""
    roots = [Path(sys.base_prefix).parent, Path("~/.pyenv/versions").expanduser()]
    candidates = [shutil.which("python3", path="/usr/bin") or sys.executable]
    candidates += [str(path) for root in roots for path in sorted(root.glob("3.6.*/bin/python3.6"))]
    return list(dict.fromkeys(candidates))


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request: the answer as dbmod reads it, and all that was printed."""

    answer: transport.Answer
    output: bytes
    errors: bytes

    @property
    def result(self) -> transport.Result:
        """The only result; what the host said instead if there is none."""
        [one] = self.answer.results or [self._silence()]
        return one

    def _silence(self) -> transport.Result:
        said = self.answer.problem or (self.output + self.errors)[-200:].decode(errors="replace")
        return transport.Result(module=MODULE, type="", status="ERROR", message=transport.text(f"no answer: {said}"))


class Host:
    """A scratch host below *directory*: /var/lib/dbmod is its home, everything else a root for types of host scope."""

    answer_limit_bytes = transport.ANSWER_LIMIT_BYTES + (128 << 20)  # with contents of 64 MiB
    limit_seconds = 30.0  # of each function of a type; less than the answer is waited for: nothing is left at work

    def __init__(self, directory: Path, *type_directories: Path) -> None:
        self.home = directory / "home"
        self.root = directory / "root"
        (self.root / "run/systemd/system").mkdir(parents=True)
        (self.root / "etc").mkdir()
        self.settings = config.Settings(type_directories=tuple(str(path) for path in type_directories))
        self.sources = module_types.sources(self.settings)
        self.python = pythons()[0]

    @property
    def directory(self) -> Path:
        return self.home / "instances" / INSTANCE

    def folder(self, module_type: str, module: str = MODULE) -> Path:
        return self.directory / "modules" / module_type / module

    def path(self, name: str) -> Path:
        """Say where a case's file is: absolute in the scratch root, relative in the instance's directory."""
        return self.root / name.lstrip("/") if name.startswith("/") else self.directory / name

    def words(self) -> list[str]:
        """Give the command that takes a frame on its standard input."""
        return ["/bin/sh", "-c", transport.command(self.python)]

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{STAND_INS}:{os.environ['PATH']}",
            "DBMOD_TEST_ROOT": str(self.root),
            "HOME": str(self.home.parent),
            "LC_ALL": "C",
        }

    def request(self, verb: transport.Verb, *modules: transport.ModuleRequest, **more: object) -> transport.Request:
        values = {"run": "run-1", "serial": 1, "verb": verb, "home": str(self.home), "instance": INSTANCE}
        limits = {"time_limit_seconds": self.limit_seconds}
        return msgspec.convert({**values, **limits, "modules": modules, **more}, transport.Request)

    def send(
        self,
        request: transport.Request,
        contents: Sequence[bytes] = (),
        *,
        sources: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Sent:
        """Do on the host what a connection does: the command in a shell, the frame on its standard input."""
        ended = subprocess.run(
            self.words(),
            input=transport.frame(request, self.sources if sources is None else sources, contents),
            capture_output=True,
            env=self.environment(),
            timeout=timeout,
            check=False,
        )
        answer = transport.read_answer(ended.stdout, request.run, limit_bytes=self.answer_limit_bytes)
        return Sent(answer=answer, output=ended.stdout, errors=ended.stderr)

    def apply(self, module_type: str, contents: bytes, **more: object) -> Sent:
        return self.send(self.request("apply", module(module_type, contents), **more), [contents])

    def remove(self, module_type: str, contents: bytes = b"", **more: object) -> Sent:
        return self.send(self.request("remove", module(module_type, contents), **more))

    def look(self, verb: transport.Verb, module_type: str, **more: object) -> Sent:
        return self.send(self.request(verb, module(module_type, b""), **more))


def module(module_type: str, contents: bytes, module_id: str = MODULE) -> transport.ModuleRequest:
    return transport.ModuleRequest(
        module=module_id,
        type=module_type,
        name="mymod",
        datastore="all",
        datastore_version="all",
        tenant="default",
        version_number=1,
        md5="7f700cc7b99606615f8b51946f6d3228",
        sha256=hashlib.sha256(contents).hexdigest(),
        auto_apply=False,
        visible=True,
        is_admin=True,
    )


def snapshot(directory: Path) -> dict[str, tuple[object, ...]]:
    """Tell of everything below *directory* what a change would show: inode, size, mode and time of change."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(directory))] = (status.st_ino, status.st_size, status.st_mode, status.st_mtime_ns)
    return found
