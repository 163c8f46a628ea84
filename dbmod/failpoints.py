"""Names at which a test may stop this process, to kill it there. Without the two variables nothing happens.

All names: after_plan, before_batch, before_send, after_send, before_record, after_record, before_close (controller);
host_started, after_stage, mid_copy, after_contents_rename, before_type, after_type, before_result, after_result (host).
"""

import os
import time
from pathlib import Path

NAME = "DBMOD_FAILPOINT"
FILE = "DBMOD_FAILPOINT_FILE"


def failpoint(name: str) -> None:
    """Write this pid to the file that the test watches and wait to be killed, if *name* is the one asked for."""
    if os.environ.get(NAME) == name:
        Path(os.environ[FILE]).write_text(str(os.getpid()))
        time.sleep(60)
