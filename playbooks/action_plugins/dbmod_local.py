"""dbmod_local: make, start, stop or remove a server on this machine. A thin door to dbmod/local_servers.py.

It works in the controller itself, which for the provider `local` is the host: 20 ms instead of a module's 250.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2]))  # a checkout without an installed dbmod

from dbmod import errors, local_servers


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a task gives."""

    state: str  # present, started, stopped, absent
    place: local_servers.Place
    server: local_servers.Server | None = None  # needed to start, stop and remove one


class ActionModule(ActionBase):
    """See the module's docstring."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            # 2.19 tags every string with its origin: JSON gives plain ones
            plain = msgspec.json.encode(self._task.args, enc_hook=str)
            arguments = msgspec.json.decode(plain, type=Arguments, strict=False, dec_hook=lambda kind, text: kind(text))
            result["changed"] = carry_out(arguments, check=self._task.check_mode)
        except errors.DbmodError as error:
            result |= {"failed": True, "msg": " · ".join(error.lines())}
        except (msgspec.ValidationError, OSError) as error:
            result |= {"failed": True, "msg": f"the local server: {error}"}
        return result


def carry_out(arguments: Arguments, *, check: bool) -> bool:
    """Bring the server into the state; tell whether that changed anything."""
    place, server = arguments.place, arguments.server
    if arguments.state == "present":
        return local_servers.make_directories(place, check=check)
    if server is None:
        raise errors.BadInput(f"state={arguments.state} needs the server")
    if arguments.state == "started":
        return local_servers.start(place, server, check=check)
    stopped = local_servers.stop(place, server, check=check)
    if arguments.state == "absent":
        return local_servers.remove(place, check=check) or stopped
    return stopped
