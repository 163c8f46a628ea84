# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The first code that runs on a host: takes the kit and the types from standard input, then answers the request.

The stream after this source: the header's length and a newline, the header (JSON), the sources it names, the contents.

Compiling the kit takes longer than most of what it does, so the first change leaves it compiled in dbmod's home. It is
used where it is this kit, compiled by this Python, whole, and a file that only we can have written.
"""

import binascii
import contextlib
import gc
import json
import marshal
import os
import sys
import types
from typing import Any, BinaryIO, Dict, List, Optional

PACKAGE = "ansible.module_utils"  # where a type imports the kit from, here without Ansible
COMPILED, NEW_COMPILED = "kit", ".kit.new"
PRIVATE_FILE = 0o100600


def load(stream: BinaryIO) -> None:
    """Install what the header names and hand over to the bundle."""
    gc.disable()  # code is nothing that could be thrown away
    try:
        header = json.loads(_exactly(stream, int(stream.readline(20))))
        kit = [_exactly(stream, size) for _, size in header["kit"]]
        sources = {name: _exactly(stream, size) for name, size in header["types"]}
    except ValueError:
        print("\ndbmod-refused - the request did not arrive complete", flush=True)
        return
    mark = "%s %x %s" % (sys.implementation.cache_tag, sys.hexversion, header["kit_sha256"])
    kept = _compiled(os.path.join(header["home"], COMPILED), mark)
    code = kept or [compile(source, name + ".py", "exec") for (name, _), source in zip(header["kit"], kit)]
    package = _module("ansible")
    package.module_utils = _module(PACKAGE)
    for (name, _), compiled in zip(header["kit"], code):
        module = _module(PACKAGE + "." + name)
        setattr(package.module_utils, name, module)
        exec(compiled, module.__dict__)
    gc.enable()
    package.module_utils.dbmod_bundle.run(header, sources, stream)
    if kept is None and header["verb"] in ("apply", "remove") and not header["check"]:
        _keep(package.module_utils.dbmod_files, header, mark, code)


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


def _compiled(path: str, mark: str) -> Optional[List[Any]]:
    """Give the code that an earlier request left; None where it cannot be used."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if (status.st_mode, status.st_uid) != (PRIVATE_FILE, os.geteuid()):
                return None
            head, _, data = file.read().partition(b"\n")
    except OSError:
        return None
    code: Optional[List[Any]] = marshal.loads(data) if head == _head(mark, data) else None  # noqa: S302  (ours alone)
    return code


def _keep(files: Any, header: Dict[str, Any], mark: str, code: List[Any]) -> None:
    """Leave the code for the next request; where that fails, the next one compiles again."""
    data = marshal.dumps(code)
    with contextlib.suppress(OSError, files.Unusable), files.folder(header["home"], []) as home:
        if home is not None:
            files.write_new(home, NEW_COMPILED, _head(mark, data) + b"\n" + data)
            files.rename(home, NEW_COMPILED, COMPILED)


def _head(mark: str, data: bytes) -> bytes:
    return ("%s %08x" % (mark, binascii.crc32(data))).encode("ascii")


load(sys.stdin.buffer)
os._exit(0)  # what Python would tidy up at its end takes longer than all the loading
