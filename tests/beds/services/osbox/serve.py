"""serve.py MODULE PORT [ARGUMENT…]: serve MODULE.application in waitress, on all addresses of the namespace."""

import importlib
import sys

import waitress

module, port = sys.argv[1:3]
sys.argv[1:] = sys.argv[3:]
waitress.serve(
    importlib.import_module(module).application,
    host="0.0.0.0",
    port=int(port),
    threads=8,
    ident=None,
    channel_timeout=300,
    max_request_body_size=1 << 40,
)
