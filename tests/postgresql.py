"""A real PostgreSQL for ledgers: one server for all tests of a process, one database for each test."""

import contextlib
import datetime
import ipaddress
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROLE, PASSWORD = "dbmod_team", "C4nary of the ledger / % @ ?"
QUOTED = "C4nary%20of%20the%20ledger%20%2F%20%25%20%40%20%3F"
START_SECONDS = 30
CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{directory}'
ssl = on
ssl_cert_file = '{directory}/server.crt'
ssl_key_file = '{directory}/server.key'
max_connections = 60
fsync = off  # a killed server loses nothing by it, only a machine that loses its power
shared_buffers = 32MB
log_statement = all
"""
ACCESS = f"""
local all postgres trust
host all postgres 127.0.0.1/32 reject
host all {ROLE} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


class Server:
    """A server of its own: its directory, its port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        # It refuses root.
        self.account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        directory.chmod(0o755)
        write_certificates(directory)
        if self.account:
            for path in (directory, directory / "server.key"):
                shutil.chown(path, "postgres", "postgres")
        words = ["--pgdata", str(self.data), "--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8"]
        subprocess.run(
            [self.programs / "initdb", *words, "--locale=C.UTF-8"], check=True, capture_output=True, **self.account
        )
        (self.data / "postgresql.conf").write_text(CONFIGURATION.format(port=self.port, directory=directory))
        (self.data / "pg_hba.conf").write_text(ACCESS)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.account,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, self.log.read_text()[-2000:]
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to the server and everything it has started, at once."""
        assert self._process
        family = [self._process.pid, *children(self._process.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while any(Path(f"/proc/{pid}").exists() for pid in family):
            time.sleep(0.005)

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # at once: nobody needs its data any more
            self._process.wait(timeout=30)

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Do something as the superuser; give what the last statement answers."""
        where = {"host": str(self.directory), "port": self.port, "user": "postgres", "dbname": database}
        with psycopg.connect(**where, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """Make an empty database. Returns its name."""
        name = f"ledger_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
        return name

    def address(self, database: str, *, options: str = "sslmode=disable", password: str = QUOTED) -> str:
        return f"postgresql://{ROLE}:{password}@127.0.0.1:{self.port}/{database}?{options}"


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Start a server with the role of a team; nothing is left of it."""
    with tempfile.TemporaryDirectory(prefix="dbmod-postgresql-") as directory:
        one = Server(Path(directory))
        one.start()
        try:
            one.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
            yield one
        finally:
            one.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with server() as one:
        yield one


@pytest.fixture
def database(postgresql: Server) -> str:
    """The name of an empty database."""
    return postgresql.database()


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def write_certificates(directory: Path) -> None:
    """Make an authority, a server's certificate by it for 127.0.0.1, and another authority that signed nothing."""
    key, authority = _authority("dbmod test authority")
    (directory / "ca.crt").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (directory / "other.crt").write_bytes(_authority("another authority")[1].public_bytes(serialization.Encoding.PEM))
    own = ec.generate_private_key(ec.SECP256R1())
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (_builder("127.0.0.1", own).issuer_name(authority.subject).add_extension(here, critical=False)).sign(
        key, hashes.SHA256()
    )
    (directory / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "server.key").write_bytes(private)
    (directory / "server.key").chmod(0o600)


def _authority(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, key)
    constraint = x509.BasicConstraints(ca=True, path_length=None)
    certificate = builder.issuer_name(_name(name)).add_extension(constraint, critical=True).sign(key, hashes.SHA256())
    return key, certificate


def _builder(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
