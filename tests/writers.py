"""Applications that write while somebody rolls something out: what was acknowledged has to be there at the end."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pymysql
import redis
import redis.cluster
from redis.backoff import NoBackoff
from redis.retry import Retry

PAUSE_SECONDS = 0.02
LOGIN = {"user": "app", "password": "secret"}
TIMEOUT_SECONDS = 1
STATEMENTS = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.kept (i INT PRIMARY KEY)",
    f"CREATE USER {LOGIN['user']} IDENTIFIED BY '{LOGIN['password']}'",
    f"GRANT ALL ON shop.* TO {LOGIN['user']}",
)  # what a database needs for a GaleraWriter


class Writer:
    """Writes one number after the other, wherever it is accepted, until it is stopped.

    acknowledged  the numbers whose write the server has confirmed
    """

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.longest_gap_seconds = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def write(self, number: int) -> None:
        """Raises any of REFUSED where it is not confirmed."""
        raise NotImplementedError

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _write(self) -> None:
        number, last = 0, time.monotonic()
        while not self._is_over.wait(PAUSE_SECONDS):
            number += 1
            try:
                self.write(number)
            except REFUSED:
                continue
            self.acknowledged.append(number)
            now = time.monotonic()
            self.longest_gap_seconds, last = max(self.longest_gap_seconds, now - last), now


REFUSED = (pymysql.MySQLError, redis.RedisError, OSError)


class GaleraWriter(Writer):
    """Inserts rows, at whichever member accepts them. ports: of its members on this machine."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = ports
        self._turn = 0
        self._connection: Any = None
        super().__init__()

    def write(self, number: int) -> None:
        try:
            if self._connection is None:
                self._turn += 1
                self._connection = _connect(self.ports[self._turn % len(self.ports)])
            with self._connection.cursor() as cursor:
                cursor.execute("INSERT INTO shop.kept VALUES (%s)", (number,))
        except REFUSED:
            self._connection = None
            raise

    def lost(self) -> list[int]:
        """List what any member has not of what was acknowledged."""
        held = [set(_held(port)) for port in self.ports]
        return [number for number in self.acknowledged if not all(number in one for one in held)]


class RedisWriter(Writer):
    """Sets keys, each on the server whose turn it is, or where a cluster says."""

    def __init__(self, servers: Sequence[Any]) -> None:
        self.servers = servers
        super().__init__()

    def write(self, number: int) -> None:
        self.servers[number % len(self.servers)].set(f"kept:{number}", number)

    def lost(self) -> list[int]:
        """List what its server has not of what was acknowledged."""
        return [
            number
            for number in self.acknowledged
            if self.servers[number % len(self.servers)].get(f"kept:{number}") != str(number).encode()
        ]


def redis_server(address: str, port: int = 6379) -> redis.Redis:
    timeouts = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    return redis.Redis(host=address, port=port, retry=Retry(NoBackoff(), retries=0), **timeouts)


def redis_cluster(port: int, password: str) -> redis.cluster.RedisCluster:
    return redis.cluster.RedisCluster(host="127.0.0.1", port=port, password=password, socket_timeout=TIMEOUT_SECONDS)


def _connect(port: int) -> Any:
    return pymysql.connect(
        host="127.0.0.1", port=port, autocommit=True, connect_timeout=TIMEOUT_SECONDS, read_timeout=30, **LOGIN
    )


def _held(port: int) -> list[int]:
    with _connect(port) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT i FROM shop.kept")
        return [number for (number,) in cursor.fetchall()]
