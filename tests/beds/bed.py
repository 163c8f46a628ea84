"""The bed of one test run: a slot, its network, and what is started in it when it is first asked for."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.beds import apt_proxy, cache, cloud, hosts, limits, network, slots


class Bed:
    """A slot with its network; close() ends and removes everything in it."""

    def __init__(self) -> None:
        self.slot = slots.take()
        self.cloud_seconds = 0.0
        self._cloud_contents: set[str] = set()
        self._numbers = itertools.count(1)
        self._cloud = cloud.Cloud(self.slot)
        self._cloud_start: threading.Thread | None = None
        self._cloud_failure: Exception | None = None
        self._lock = threading.Lock()
        try:
            limits.raise_all()
            network.create(self.slot)
            hosts.prepare(self.slot)
            self._proxy = apt_proxy.start(network.controller(self.slot))
        except BaseException:
            self.slot.close()
            raise

    @contextmanager
    def borrow_hosts(self) -> Iterator[hosts.Hosts]:
        """Lend hosts to whoever shares them; they are thrown away at the end."""
        lent = hosts.Hosts(self.slot, self._numbers)
        try:
            yield lent
        finally:
            lent.close()

    def without_packages(self) -> AbstractContextManager[None]:
        """Let the machines' apt find nothing for a while."""
        return apt_proxy.closed(self._proxy)

    @property
    def cloud(self) -> cloud.Cloud:
        """The cloud; whoever asks first waits for it."""
        self.start_cloud().join()
        if self._cloud_failure:
            raise self._cloud_failure
        return self._cloud

    def start_cloud(self) -> threading.Thread:
        """Start the cloud, once, beside what else goes on."""
        with self._lock:
            if not self._cloud_start:
                self._cloud_start = threading.Thread(target=self._run_cloud, name="cloud start", daemon=True)
                self._cloud_start.start()
        return self._cloud_start

    @property
    def has_cloud(self) -> bool:
        return self._cloud_start is not None and not self._cloud_start.is_alive() and self._cloud_failure is None

    def left_in_cloud(self) -> list[str]:
        """List what was not there when the cloud had started."""
        return sorted(set(self._cloud.resources()) - self._cloud_contents) if self.has_cloud else []

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self.slot.close()

    def _run_cloud(self) -> None:
        try:
            cache.images()
            cache.services()
            began = time.monotonic()
            self._cloud.start()
            self.cloud_seconds = time.monotonic() - began
            self._cloud_contents = set(self._cloud.resources())
        except Exception as error:  # told to whoever asks for the cloud
            self._cloud_failure = error
