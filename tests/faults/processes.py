"""A second process, which can be killed at any moment."""

import os
import signal
from collections.abc import Callable


class Second:
    """A fork of this process that runs *action* with a file descriptor to tell how far it is."""

    def __init__(self, action: Callable[[int], None]) -> None:
        self.reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.reading)
                action(writing)
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writing)

    def wait_for_word(self) -> bytes:
        """Wait until it says something."""
        return os.read(self.reading, 1)

    def kill(self) -> bytes:
        """Kill -9; give all it had said and nobody had read."""
        os.kill(self.pid, signal.SIGKILL)
        return self.end()[1]

    def end(self) -> tuple[int, bytes]:
        """Wait for its end; give its exit status and all it had said."""
        with os.fdopen(self.reading, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        return status, said
