"""Names at which a test may stop this process, to kill it there. Without the two variables nothing happens.

All names: after_plan, before_batch, before_send, after_send, before_record, before_close, after_record (playbook),
after_close (command); host_started, mid_copy, after_stage, after_contents_rename, before_type, after_type,
before_result, after_result (host).
"""

import os
import time

NAME = "DBMOD_FAILPOINT"
FILE = "DBMOD_FAILPOINT_FILE"
CONTROLLER: tuple[str, ...] = ("after_plan", "before_batch", "before_send", "after_send")
CONTROLLER += ("before_record", "before_close", "after_record", "after_close")
HOST: tuple[str, ...] = ("host_started", "mid_copy", "after_stage", "after_contents_rename")
HOST += ("before_type", "after_type", "before_result", "after_result")
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.02


def failpoint(name: str) -> None:
    """Add this pid to the file that the test watches and wait to be killed, or until the test removes the file."""
    if os.environ.get(NAME) != name:
        return
    path = os.environ[FILE]
    with open(path, "a") as file:  # noqa: PTH123  (a test's own file)
        file.write(f"{os.getpid()}\n")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while os.path.exists(path) and time.monotonic() < deadline:  # noqa: PTH110
        time.sleep(POLL_SECONDS)
