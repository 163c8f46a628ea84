# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The first code that runs on a host: takes the kit and the types from standard input, then answers the request.

The stream after this source: the header's length and a newline, the header (JSON), the sources it names, the contents.
"""

import json
import sys
import types
from typing import Any, BinaryIO

PACKAGE = "ansible.module_utils"  # where a type imports the kit from, here without Ansible


def load(stream: BinaryIO) -> None:
    """Install what the header names and hand over to the bundle."""
    try:
        header = json.loads(_exactly(stream, int(stream.readline(20))))
        package = _module("ansible")
        package.module_utils = _module(PACKAGE)
        for name, size in header["kit"]:
            module = _module(PACKAGE + "." + name)
            setattr(package.module_utils, name, module)
            exec(compile(_exactly(stream, size), name + ".py", "exec"), module.__dict__)
        sources = {name: _exactly(stream, size) for name, size in header["types"]}
        bundle: Any = sys.modules[PACKAGE + ".dbmod_bundle"]
    except ValueError:
        print("\ndbmod-refused - the request did not arrive complete")
        return
    bundle.run(header, sources, stream)


def _exactly(stream: BinaryIO, size: int) -> str:
    data = stream.read(size)
    if len(data) != size:
        raise ValueError
    return data.decode("utf-8")


def _module(name: str) -> Any:
    module: Any = types.ModuleType(name)
    module.__package__ = PACKAGE
    sys.modules[name] = module
    return module


load(sys.stdin.buffer)
