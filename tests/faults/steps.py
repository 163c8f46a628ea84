"""Run something in a child in which the Nth call that changes a file kills it, or fails."""

import errno
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import msgspec

from dbmod import errors

CALLS = (
    "open",
    "write",
    "pwrite",
    "ftruncate",
    "fsync",
    "replace",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "rmdir",
    "utime",
)


class Outcome(msgspec.Struct, frozen=True):
    """How the child ended.

    state  "done", "killed", "refused" (a DbmodError) or "crashed" (anything else)
    """

    state: str
    steps: int = 0
    exit_code: int = 0
    what: str = ""


def run(action: Callable[[], Any], *, die_at: int = 0, fail_at: int = 0, number: int = errno.EIO) -> Outcome:
    """Run *action* in a fork of this process.

    die_at   the call, from 1, at which kill -9 hits it; a write has then written half
    fail_at  the call, from 1, that raises OSError(number) instead
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            outcome = _in_child(action, die_at, fail_at, number)
            os.write(writing, msgspec.json.encode(outcome)[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Outcome("killed")
    return msgspec.convert(json.loads(answer), Outcome)


def _in_child(action: Callable[[], Any], die_at: int, fail_at: int, number: int) -> Outcome:
    originals = {name: getattr(os, name) for name in CALLS}
    count = 0

    def faulty(name: str) -> Callable[..., Any]:
        original = originals[name]

        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal count
            count += 1
            if count == die_at:
                if name == "write":
                    original(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            if count == fail_at:
                raise OSError(number, os.strerror(number))
            return original(*arguments, **keywords)

        return call

    for name in CALLS:
        setattr(os, name, faulty(name))
    try:
        action()
        outcome = Outcome("done", steps=count)
    except errors.DbmodError as error:
        outcome = Outcome("refused", steps=count, exit_code=error.exit_code, what=error.what)
    except BaseException as error:
        outcome = Outcome("crashed", steps=count, what=f"{type(error).__name__}: {error}")
    for name, original in originals.items():
        setattr(os, name, original)
    return outcome
