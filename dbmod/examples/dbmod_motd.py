#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module type that keeps a message of the day in the directory of a database server."""

DOCUMENTATION = r"""
---
module: dbmod_motd
short_description: Keep a message of the day beside a database server
version_added: "0.1.0"
description:
  - Writes the contents, which must be text of at most 20 lines, to the file C(motd.txt) in the server's own directory.
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
    description: Changes nothing and says what would change.
author:
  - The dbmod authors (@dbmod)
"""

EXAMPLES = r"""
- name: Say who is on call
  dbmod_motd:
    contents: |
      On call this week: Ada
"""

RETURN = r"""
message:
  description: How many lines were written.
  returned: success
  type: str
  sample: motd of 1 line written
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

from ansible.module_utils import dbmod_kit as kit

DECLARES = kit.Declares(scope="instance")

FILE = "motd.txt"  # relative: in the instance's own directory
LINES_LIMIT = 20

CASES = (
    {
        "contents": b"On call this week: Ada\n",
        "message": "motd of 1 line written",
        "changed": True,
        "after": {FILE: b"On call this week: Ada\n"},
        "removed": "motd removed",
        "after_removed": {FILE: None},
    },
    {
        "contents": b"one\ntwo",
        "files": {FILE: b"one\ntwo"},
        "message": "motd of 2 lines written",
        "after": {FILE: b"one\ntwo"},
    },
    {"contents": b"\xff\xfe", "refused": "The message of the day is not text"},
    {"contents": b"\n" * 21, "refused": "The message of the day has 21 lines, 20 are allowed"},
)


def validate(contents):
    """Raise kit.Refused if a terminal could not show it."""
    try:
        lines = contents.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise kit.Refused("The message of the day is not text") from None
    if len(lines) > LINES_LIMIT:
        raise kit.Refused("The message of the day has %d lines, %d are allowed" % (len(lines), LINES_LIMIT))


def apply(contents, host):
    changed = host.write_file(FILE, contents, mode=0o644)
    count = len(contents.decode("utf-8").splitlines())
    return kit.Outcome(changed, "motd of %d line%s written" % (count, "" if count == 1 else "s"))


def remove(contents, host):
    return kit.Outcome(host.remove_file(FILE), "motd removed")


def query(host):
    """Say what is missing of what apply left; empty if nothing is."""
    return "" if host.read_file(FILE) is not None else "the file %s is gone" % FILE


if __name__ == "__main__":
    kit.main(validate, apply, remove, query)
