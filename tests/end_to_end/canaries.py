"""Canaries: secrets that a test plants, and the search for them in whatever form they were written."""

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

LARGEST_BYTES = 64 << 20


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """A secret.

    text  all of it, with characters that JSON and URLs escape around a core that they leave as it is
    """

    name: str
    text: str

    @property
    def forms(self) -> tuple[bytes, ...]:
        """Give what to look for: its core (which JSON and URLs leave as it is), in hex, in base64 at any offset."""
        core = self.text[:32].encode()
        coded = []
        for offset in range(3):
            whole = base64.b64encode(b"\0" * offset + core)
            coded.append(whole[4 if offset else 0 : -4])
        return (core, binascii.hexlify(core), *coded)

    def is_in(self, data: bytes) -> bool:
        return any(form in data for form in self.forms)


def make(name: str) -> Canary:
    return Canary(name=name, text=secrets.token_hex(16) + '"\\é/+ {{ 7 * 7 }}')


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    canary: str
    where: str


def in_text(text: str, canaries: Iterable[Canary], *, where: str) -> list[Hit]:
    data = text.encode(errors="replace")
    return [Hit(canary=one.name, where=where) for one in canaries if one.is_in(data)]


def in_files(directory: Path, canaries: Iterable[Canary], *, since: float = 0.0) -> list[Hit]:
    """Search names and bytes of every regular file below *directory* that was written since then."""
    known = list(canaries)
    found = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            try:
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode) or status.st_mtime < since or status.st_size > LARGEST_BYTES:
                    continue
                data = path.read_bytes()
            except OSError:  # it went away meanwhile
                continue
            data += b"\n" + os.fsencode(path)
            found += [Hit(canary=one.name, where=str(path)) for one in known if one.is_in(data)]
    return found


def in_processes(pids: Iterable[int], canaries: Iterable[Canary], *, files: tuple[str, ...]) -> list[Hit]:
    """Search what everybody (cmdline) or their user (environ) can read of processes."""
    known = list(canaries)
    found = []
    for pid in pids:
        for file in files:
            try:
                data = Path(f"/proc/{pid}/{file}").read_bytes()
            except OSError:
                continue
            found += [Hit(canary=one.name, where=f"{file} of {pid}") for one in known if one.is_in(data)]
    return found
