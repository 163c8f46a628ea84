"""A proxy through which the machines' apt reaches the mirrors that this machine uses, and nothing else."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.beds.commands import run

PORT = 3142
CHUNK_BYTES = 1 << 16
OF_ONE_HOP = frozenset({"proxy-connection", "connection", "host", "transfer-encoding", "content-length"})


def start(address: str) -> "_Server":
    """Listen at an address, in threads of this process."""
    sites = run("apt-get", "indextargets", "--format", "$(SITE)").stdout.split()
    server = _Server((address, PORT), _Handler)
    server.mirrors = {urlsplit(site).hostname for site in sites}
    threading.Thread(target=server.serve_forever, name="apt proxy", daemon=True).start()
    return server


@contextmanager
def closed(proxy: "_Server") -> Iterator[None]:
    """Refuse every mirror for a while."""
    mirrors, proxy.mirrors = proxy.mirrors, set()
    try:
        yield
    finally:
        proxy.mirrors = mirrors


def configuration(address: str) -> str:
    """Write what /etc/apt/apt.conf.d needs."""
    return f'Acquire::http::Proxy "http://{address}:{PORT}";\n'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    mirrors: set[str | None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.hostname not in self.server.mirrors:
            self.send_error(403)
            return
        wanted = {name: value for name, value in self.headers.items() if name.lower() not in OF_ONE_HOP}
        connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=60)
        try:
            connection.request("GET", url.path + (f"?{url.query}" if url.query else ""), headers=wanted)
            self._pass_on(connection.getresponse())
        finally:
            connection.close()

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in OF_ONE_HOP:
                self.send_header(name, value)
        if answer.length is None and answer.status == 200:
            self.send_header("Connection", "close")  # its end is the end of the body
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(answer.length or 0))
        self.end_headers()
        while block := answer.read(CHUNK_BYTES):
            self.wfile.write(block)

    def log_message(self, *arguments: object) -> None:
        return
