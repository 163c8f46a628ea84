"""A stand-in for a controller's API: it keeps what it is given and gives it back, and judges nothing.

So that the modules of awx.awx can be run at all. What AWX itself would refuse, it takes.
"""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

ROLES = ("admin_role", "approval_role", "execute_role", "read_role")
JOBS = ("job_templates", "projects", "workflow_job_templates")  # what AWX calls unified job templates
NOT_FILTERS = ("order_by", "page", "page_size")
Answer = tuple[int, Any]


class Controller:
    """What it was given.

    items     endpoint → id → item, as the API shows it
    lists     path of a sub-list → ids in it: credentials of a template, teams of a role
    surveys   path → specification
    requests  method and path of each, in order
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.items: dict[str, dict[int, dict[str, Any]]] = {}
        self.lists: dict[str, list[int]] = {}
        self.surveys: dict[str, Any] = {}
        self.requests: list[tuple[str, str]] = []
        self._ids = itertools.count(1)

    def names(self, endpoint: str) -> list[str]:
        return sorted(str(one["name"]) for one in self.items.get(endpoint, {}).values())

    def add(self, endpoint: str, data: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        url = f"{self.prefix}v2/{endpoint}/{number}/"
        item = data | {
            "id": number,
            "url": url,
            "type": endpoint.removesuffix("s"),
            "scm_revision": "",  # of a project
            "related": {"survey_spec": f"{url}survey_spec/"},
            "summary_fields": {"object_roles": {name: {"id": next(self._ids)} for name in ROLES}},
        }
        self.items.setdefault(endpoint, {})[number] = item
        return item

    def answer(self, method: str, path: str, query: dict[str, str], data: Any) -> Answer:
        assert path.startswith(f"{self.prefix}v2/"), path
        endpoint, *rest = path.removeprefix(f"{self.prefix}v2/").strip("/").split("/")
        if not rest:
            return (201, self.add(endpoint, data)) if method == "POST" else (200, _page(self._found(endpoint, query)))
        item = self.items.get(endpoint, {}).get(int(rest[0]))
        if len(rest) == 1:
            if item is None:
                return 404, {}
            item.update(data if method == "PATCH" else {})
            return 200, item
        if rest[1] == "survey_spec":
            if method == "POST":
                self.surveys[path] = data
            return 200, self.surveys.get(path, {})
        if rest[1] == "create_approval_template":
            made = self.add("workflow_approval_templates", data)
            self.items[endpoint][int(rest[0])]["related"]["unified_job_template"] = made["url"]
            return 201, made
        held = self.lists.setdefault(path, [])
        if method == "GET":
            return 200, _page([{"id": one} for one in held])
        if data.get("disassociate"):
            held.remove(data["id"])
        else:
            held.append(data["id"])
        return 204, None

    def _found(self, endpoint: str, query: dict[str, str]) -> list[dict[str, Any]]:
        several = JOBS if endpoint == "unified_job_templates" else (endpoint,)
        every = [item for one in several for item in self.items.get(one, {}).values()]
        wanted = {name: value for name, value in query.items() if name not in NOT_FILTERS}
        return [one for one in every if all(str(one.get(name)) == value for name, value in wanted.items())]


def _page(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"count": len(results), "results": results, "next": None}


@contextmanager
def running(prefix: str) -> Iterator[tuple[Controller, str]]:
    """Serve one on loopback. Gives it and its address; prefix is /api/ for AWX."""
    controller = Controller(prefix)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            address = urlsplit(self.path)
            data = json.loads(body) if body else {}
            with lock:
                controller.requests.append((self.command, address.path))
                status, found = controller.answer(self.command, address.path, dict(parse_qsl(address.query)), data)
            text = b"" if found is None else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815  (its base's names)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield controller, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
