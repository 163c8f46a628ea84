"""Memory for contents is shared out between processes, and given back by those that die."""

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbmod import memory

MIB = 1 << 20
HOLD = """
import sys, time
from pathlib import Path
from dbmod import memory
with memory.lent(Path(sys.argv[1]), int(sys.argv[2])):
    print("has it", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(path: Path, size_bytes: int) -> Iterator["subprocess.Popen[str]"]:
    words = [sys.executable, "-c", HOLD, str(path), str(size_bytes)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def has_it(process: "subprocess.Popen[str]") -> bool:
    assert process.stdout
    return process.stdout.readline() == "has it\n"


@pytest.mark.parametrize(("size_bytes", "fit"), [(64 * MIB, 2), (20 * MIB, 8), (1 << 30, 1)])
def test_large_contents_wait_until_there_is_room(tmp_path: Path, size_bytes: int, fit: int) -> None:
    path = tmp_path / "runs" / "memory"
    with contextlib.ExitStack() as holders:
        early = [holders.enter_context(holder(path, size_bytes)) for _ in range(fit)]
        assert all(has_it(one) for one in early)
        late = holders.enter_context(holder(path, size_bytes))
        with memory.lent(path, 3 * MIB):  # small ones never wait
            assert not select.select([late.stdout], [], [], 1)[0]
        early[0].kill()
        assert has_it(late)
