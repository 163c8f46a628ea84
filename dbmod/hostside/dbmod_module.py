# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module type as an ordinary Ansible module: the same kit, with the task's arguments as the request."""

import base64
import hashlib
import os
import re
import uuid
from typing import Any, Dict, Tuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped, unused-ignore]

from . import dbmod_change as change
from . import dbmod_files as files
from . import dbmod_kit as kit
from . import dbmod_work as work

NAMESPACE = uuid.UUID("7c9a1f5e-8f2b-5a53-9d1c-1d1b0f3f7a10")  # of the module ids made from type and name
STANDALONE = "standalone"  # the instance where the task names none
LOCK_WAIT_SECONDS = 30
PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")  # becomes a folder's name

# raw: a value of the wrong type must not be quoted in an error, as Ansible's own check would do
ARGUMENTS: Dict[str, Dict[str, Any]] = {
    "contents": {"type": "raw", "no_log": True},
    "contents_base64": {"type": "raw", "no_log": True},
    "state": {"type": "raw", "default": "present"},
    "name": {"type": "raw"},
    "instance": {"type": "raw", "default": STANDALONE},
    "module_id": {"type": "raw"},
    "home": {"type": "raw"},
}


class _Module(AnsibleModule):  # type: ignore[misc, unused-ignore]
    """Ansible's helper, which quotes wrong arguments in its errors and in the invocation: here it does not."""

    def fail_json(self, *unsaid: Any, **more: Any) -> None:
        del unsaid, more
        super().fail_json(
            msg="an argument is not valid or not known; the known ones are %s" % ", ".join(ARGUMENTS), invocation={}
        )

    def fail(self, message: str) -> None:
        super().fail_json(msg=message, status="ERROR", changed=False, invocation={})


def main(kind: kit.Type) -> None:
    """Read the arguments, do it, answer; whatever goes wrong, no value of an argument is shown."""
    module = _Module(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        os.umask(0o077)
        request, asked, contents = _understood(kind, module.params, bool(module.check_mode))
        with work.instance_folder(request) as instance:
            answer = change.change(request, asked, kind, contents, instance)
    except (kit.Refused, files.Unusable) as refusal:
        module.fail(kit.one_line(str(refusal)))
    except OSError as error:
        module.fail("dbmod's home cannot be used (%s)" % error.strerror)
    except Exception as error:
        module.fail("%s in %s" % (type(error).__name__, kind.name))
    if answer["status"] != "OK":
        module.fail(answer["message"])
    module.exit_json(
        changed=answer["changed"],
        status=answer["status"],
        message=answer["message"],
        module_id=asked["module"],
        sha256=asked["sha256"] if request["verb"] == "apply" else "",
        invocation={},
    )


def _understood(kind: kit.Type, arguments: Dict[str, Any], check: bool) -> Tuple[work.Request, work.Module, bytes]:
    """Turn the arguments into request, module and contents."""
    state, contents = _text(arguments, "state"), _contents(arguments)
    if state not in ("present", "absent"):
        raise kit.Refused("state must be present or absent")
    if state == "present" and not contents:
        raise kit.Refused("contents or contents_base64 must hold some data")
    name = _text(arguments, "name") or kind.name
    module_id = _text(arguments, "module_id") or str(uuid.uuid5(NAMESPACE, "%s/%s" % (kind.name, name)))
    instance = _text(arguments, "instance")
    if not PLAIN.match(module_id) or not PLAIN.match(instance):
        raise kit.Refused("instance and module_id take 1 to 64 letters of ASCII, digits, _ and -")
    if len(name) > 255 or kit.one_line(name) != name:
        raise kit.Refused("name takes 1 to 255 characters on one line")
    asked: work.Module = {
        "module": module_id,
        "type": kind.name,
        "name": name,
        "datastore": "all",
        "datastore_version": "all",
        "tenant": "all",
        "version_number": 1,
        "md5": _md5(base64.b64encode(contents)),
        "sha256": hashlib.sha256(contents).hexdigest(),
        "auto_apply": False,
        "visible": True,
        "is_admin": False,
    }
    request: work.Request = {
        "run": "ansible",
        "serial": None,
        "verb": "apply" if state == "present" else "remove",
        "check": check,
        "home": os.path.abspath(os.path.expanduser(_text(arguments, "home") or _home())),
        "instance": instance,
        "facts": {},
        "time_limit_seconds": kit.LIMIT_SECONDS,
        "lock_wait_seconds": LOCK_WAIT_SECONDS,
    }
    return request, asked, contents


def _text(arguments: Dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    if value is not None and not isinstance(value, str):
        raise kit.Refused("%s must be a string" % name)
    return value or ""


def _contents(arguments: Dict[str, Any]) -> bytes:
    text, encoded = _text(arguments, "contents"), _text(arguments, "contents_base64")
    if text and encoded:
        raise kit.Refused("contents and contents_base64 exclude each other")
    try:
        return base64.b64decode(encoded, validate=True) if encoded else text.encode("utf-8", "surrogateescape")
    except ValueError:
        raise kit.Refused("contents or contents_base64 cannot be decoded") from None


def _md5(data: bytes) -> str:
    """The digest the registry shows; not for security, so it must work where md5 is forbidden for that."""
    try:
        return hashlib.md5(data, usedforsecurity=False).hexdigest()  # type: ignore[call-arg, unused-ignore]
    except TypeError:  # before Python 3.9
        return hashlib.md5(data).hexdigest()


def _home() -> str:
    return "/var/lib/dbmod" if os.geteuid() == 0 else "~/.local/share/dbmod"
