#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module type whose contents are a program, which is run on the host."""

DOCUMENTATION = r"""
---
module: dbmod_script
short_description: Run a script on the host
version_added: "0.1.0"
description:
  - Runs the contents, a text whose first line is C(#!) and an interpreter, with a verb as its only argument.
  - >-
    The verb is C(apply), and C(remove), C(query) and C(check) where a line C(# dbmod: verbs apply remove query check)
    among the first thirty names them. Check mode runs C(check), which must change nothing, or nothing at all.
  - Exit code 0 is success. The last line of standard output is the message; where it is C(changed=true) or
    C(changed=false) it says that, and the line before is the message. Standard error is thrown away.
  - >-
    A line C(# dbmod: limit 30) kills the script with its process group after 30 seconds.
  - The environment is C(PATH), C(LC_ALL=C), C(DBMOD_INSTANCE), C(DBMOD_DATASTORE), C(DBMOD_DATASTORE_VERSION),
    C(DBMOD_PORT) and C(DBMOD_DIRECTORY), which is also where it starts.
options:
  contents:
    description: The contents as text.
    type: raw
  contents_base64:
    description: The contents in base64, for bytes that are not text. Not together with O(contents).
    type: raw
  state:
    description: V(present) applies the contents, V(absent) removes them.
    type: raw
    default: present
  name:
    description: Name of the module; the type's name if unset.
    type: raw
  instance:
    description: Which database server of this host the module belongs to.
    type: raw
    default: standalone
  module_id:
    description: Id of the module; made from type and name if unset.
    type: raw
  home:
    description: Where contents and result are kept; C(/var/lib/dbmod) for root, else C(~/.local/share/dbmod).
    type: raw
attributes:
  check_mode:
    support: full
    description: Runs the script only with C(check), and only if it says that it knows this verb.
author:
  - The dbmod authors (@dbmod)
"""

EXAMPLES = r"""
- name: Raise the limit of open files of the shell that the DBAs use
  dbmod_script:
    contents: |
      #!/bin/sh
      # dbmod: verbs apply remove
      file=/etc/security/limits.d/dba.conf
      case $1 in
        apply) echo '@dba - nofile 65536' >"$file"; echo "limit set" ;;
        remove) rm -f "$file"; echo "limit taken back" ;;
      esac
"""

RETURN = r"""
message:
  description: The last line that the script printed.
  returned: success
  type: str
  sample: limit set
status:
  description: V(OK) or V(ERROR).
  returned: always
  type: str
  sample: OK
module_id:
  description: Id of the module.
  returned: success
  type: str
  sample: 9a3b5b1c-6f6e-5a41-8a39-0c2a6ff0a6b1
sha256:
  description: Digest of the contents; empty when removed.
  returned: success
  type: str
  sample: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
"""

import os
import re
import tempfile
from typing import NamedTuple, Optional, Tuple

from ansible.module_utils import dbmod_kit as kit

DECLARES = kit.Declares(admin=True)

VERBS = ("apply", "remove", "query", "check")
HEADER_LINES = 30
DECLARATION = re.compile(rb"[^A-Za-z0-9]*\bdbmod:[ \t]*(.*?)[ \t\r]*\Z")
LIMIT = re.compile(r"[1-9][0-9]{0,5}\Z")

MARKS = b"""#!/bin/sh
# dbmod: verbs apply remove query check
# dbmod: limit 30
mark=$DBMOD_DIRECTORY/mark
case $1 in
    apply)
        echo working
        echo marked
        if [ -e "$mark" ]; then echo changed=false; else echo "$DBMOD_INSTANCE" >"$mark"; fi
        ;;
    check)
        echo marked
        [ ! -e "$mark" ] || echo changed=false
        ;;
    remove)
        [ -e "$mark" ] || echo changed=false
        rm -f "$mark"
        echo unmarked
        ;;
    query) [ -e "$mark" ] || echo "the mark is gone" ;;
esac
"""

CASES = (
    {
        "contents": MARKS,
        "message": "marked",
        "changed": True,
        "after": {"mark": b"standalone\n"},
        "removed": "unmarked",
        "after_removed": {"mark": None},
    },
    {
        "contents": b"#!/usr/bin/env -S LC_ALL=C sh\nenv | cut -d = -f 1 | grep DBMOD | wc -l\necho changed=false\n",
        "message": "5",
        "would": "the script would run; it knows no check",
        "removed": "nothing to run; the script knows no remove",
    },
    {"contents": b"echo hello\n", "refused": "the script's first line must be #! and the path of an interpreter"},
    {"contents": b"#!python3\n", "refused": "the script's first line must be #! and the path of an interpreter"},
    {"contents": b"#!/bin/sh\r\ntrue\r\n", "refused": "the script has line ends of Windows"},
    {
        "contents": b"#!/bin/sh\n# dbmod: verbs apply destroy\n",
        "refused": "line 2: the verbs are apply, remove, query, check; apply must be among them",
    },
    {"contents": b"#!/bin/sh\n# dbmod: limit 0\n", "refused": "line 2: limit takes a number of seconds"},
    {"contents": b"#!/bin/sh\n# dbmod: speed 3\n", "refused": "line 2: after 'dbmod:' comes verbs or limit"},
)


class Script(NamedTuple):
    """What a script says of itself.

    command  the interpreter and its argument, if it has one: what the kernel would read from the first line
    """

    command: Tuple[str, ...]
    verbs: Tuple[str, ...]
    limit_seconds: Optional[int]


def validate(contents):
    """Raise kit.Refused if it cannot be run, or a line for dbmod cannot be understood."""
    script_of(contents)


def apply(contents, host):
    script = script_of(contents)
    if host.check and "check" not in script.verbs:
        return kit.Outcome(changed=True, message="the script would run; it knows no check")
    return run(contents, script, "check" if host.check else "apply", host)


def remove(contents, host):
    if not contents:
        return kit.Outcome(changed=False, message="")
    script = script_of(contents)
    if "remove" not in script.verbs:
        return kit.Outcome(changed=False, message="nothing to run; the script knows no remove")
    if host.check:
        return kit.Outcome(changed=True, message="the script would run")
    return run(contents, script, "remove", host)


def query(host):
    """Give what the script says is missing; empty if nothing is, or it does not know."""
    script = script_of(host.held)
    return run(host.held, script, "query", host).message if "query" in script.verbs else ""


def run(contents, script, verb, host):
    """Run the script from a file that has no name any more, so that nothing of it stays, even if it is killed."""
    file = nameless(contents)
    try:
        ended = kit.commands.run(
            [*script.command, "/proc/self/fd/%d" % file, verb],
            environment(host),
            limit_seconds=script.limit_seconds,
            directory=host.directory if os.path.isdir(host.directory) else "/",
            open_files=[file],
            errors=False,
        )
    except kit.commands.TimedOut:
        raise kit.Refused("the script's %s timed out after %d s" % (verb, script.limit_seconds)) from None
    except OSError as error:
        raise kit.Refused("%s cannot be run (%s)" % (script.command[0], error.strerror)) from None
    finally:
        os.close(file)
    outcome = outcome_of(ended.output)
    if ended.code != 0:
        how = "signal %d" % -ended.code if ended.code < 0 else "code %d" % ended.code
        said = ": " + outcome.message if outcome.message else ""
        raise kit.Refused("the script's %s ended with %s%s" % (verb, how, said))
    return outcome


def nameless(contents):
    """Write the script into a private folder, open it for reading, and remove both."""
    folder = tempfile.mkdtemp(prefix="dbmod-")  # 0700
    path = os.path.join(folder, "script")
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(contents)
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise kit.Refused("the script cannot be written to %s (%s)" % (folder, error.strerror)) from None
    finally:
        if os.path.exists(path):
            os.unlink(path)
        os.rmdir(folder)


def environment(host):
    return {
        "PATH": kit.PATHS,
        "LC_ALL": "C",
        "DBMOD_INSTANCE": host.instance,
        "DBMOD_DATASTORE": host.datastore,
        "DBMOD_DATASTORE_VERSION": host.datastore_version,
        "DBMOD_PORT": str(host.port),
        "DBMOD_DIRECTORY": host.directory,
    }


def outcome_of(output):
    """Read what a script printed: the message, and after it whether anything changed; without a word it has."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    changed = True
    if lines and lines[-1] in ("changed=true", "changed=false"):
        changed = lines.pop() == "changed=true"
    return kit.Outcome(changed=changed, message=lines[-1] if lines else "")


def script_of(contents):
    lines = contents.split(b"\n")
    words = lines[0][2:].decode("utf-8", "replace").split(None, 1)
    if not lines[0].startswith(b"#!") or not words or not words[0].startswith("/") or b"\0" in lines[0]:
        raise kit.Refused("the script's first line must be #! and the path of an interpreter")
    if lines[0].endswith(b"\r"):
        raise kit.Refused("the script has line ends of Windows")
    verbs, limit_seconds = ("apply",), None
    for number, line in enumerate(lines[:HEADER_LINES], 1):
        found = DECLARATION.match(line)
        if found is None:
            continue
        name, __, value = found.group(1).decode("utf-8", "replace").partition(" ")
        if name == "verbs":
            verbs = verbs_of(value, number)
        elif name == "limit":
            limit_seconds = limit_of(value.strip(), number)
        else:
            raise kit.Refused("line %d: after 'dbmod:' comes verbs or limit" % number)
    return Script(tuple(word.strip() for word in words), verbs, limit_seconds)


def verbs_of(value, number):
    verbs = tuple(value.split())
    if "apply" not in verbs or not set(verbs) <= set(VERBS):
        raise kit.Refused("line %d: the verbs are %s; apply must be among them" % (number, ", ".join(VERBS)))
    return verbs


def limit_of(value, number):
    if not LIMIT.match(value):
        raise kit.Refused("line %d: limit takes a number of seconds" % number)
    return int(value)


if __name__ == "__main__":
    kit.main(validate, apply, remove, query)
