"""A host as tests need it: dbmod's own scratch host, and types written for a test."""

import os
import signal
import subprocess
import time
from pathlib import Path

import msgspec

from dbmod import paths, transport
from dbmod.scratch_host import INSTANCE, MODULE, STAND_INS, Host, Sent, module, pythons, snapshot

__all__ = ["INSTANCE", "MODULE", "STAND_INS", "Host", "Sent", "module", "pythons", "snapshot"]
EXAMPLES = paths.PACKAGE / "examples"


def type_source(apply: str, *, header: str = "", remove: str = "return kit.Outcome(False, '')") -> str:
    """Write a type for a test: bodies of one line or several, the rest as every type has it."""
    body = apply.replace("\n", "\n    ")
    return (
        f"import os, sys, time\nfrom ansible.module_utils import dbmod_kit as kit\n{header}\n"
        f"def validate(contents):\n    pass\n\ndef apply(contents, host):\n    {body}\n\n"
        f"def remove(contents, host):\n    {remove}\n"
    )


ACCEPT = type_source("return kit.Outcome(False, 'taken')")  # a type that takes any bytes


def send_as(host: Host, source: str, contents: bytes, **more: object) -> Sent:
    """Apply contents with a type written for the test."""
    request = host.request("apply", module("mine", contents), **more)
    return host.send(request, [contents], sources={"mine": source})


def kill_at(host: Host, failpoint: str, request: transport.Request, contents: bytes, directory: Path) -> Sent:
    """Send a request and kill the bundle with SIGKILL where the failpoint is."""
    reached = directory / "reached"
    frame = transport.frame(
        msgspec.structs.replace(request, failpoint=transport.Failpoint(name=failpoint, file=str(reached))),
        host.sources,
        [contents] if request.verb == "apply" else [],
    )
    command = ["/bin/sh", "-c", "exec " + transport.command(host.python)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=host.environment()
    )
    assert process.stdin and process.stdout
    process.stdin.write(frame)
    process.stdin.close()
    deadline = time.monotonic() + 20
    while not (reached.exists() and reached.read_text()):
        assert time.monotonic() < deadline, f"{failpoint} was never reached"
        time.sleep(0.005)
    os.kill(int(reached.read_text()), signal.SIGKILL)
    output = process.stdout.read()
    process.wait(timeout=10)
    reached.unlink()
    return Sent(answer=transport.read_answer(output, request.run), output=output, errors=b"")
