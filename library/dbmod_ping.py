#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module type that only says its message: for demonstrations and tests."""

DOCUMENTATION = r"""
---
module: dbmod_ping
short_description: Say a message, and change nothing else
version_added: "0.1.0"
description:
  - Keeps the contents on the host and gives the value of their C(message) key.
  - Contents are C(key=value) lines; C(#) starts a comment line; the key counts in any case, the last of two wins.
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
- name: Say hello
  dbmod_ping:
    contents: message=hello

- name: Forget it
  dbmod_ping:
    state: absent
"""

RETURN = r"""
message:
  description: The value of the C(message) key.
  returned: success
  type: str
  sample: hello
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

DECLARES = kit.Declares(keys=("message",))

CASES = (
    {"contents": b"message=Module.V1\n", "message": "Module.V1"},
    {"contents": b"# first\r\nMESSAGE = one\r\nmessage=two = 2\r\n", "message": "two = 2"},
    {"contents": b"\xef\xbb\xbfmessage=caf\xc3\xa9", "message": "caf\u00e9"},
    {"contents": b"message={{ lookup('pipe', 'id') }}", "message": "{{ lookup('pipe', 'id') }}"},
    {"contents": b"other=1\n", "refused": "Message not found in contents file"},
    {"contents": b"message=1\nno\n", "refused": "Could not extract ping message: line 2 has no '='"},
    {
        "contents": b"message=\xff\n",
        "refused": "Could not extract ping message: the contents are not UTF-8 text (byte 8)",
    },
    {
        "contents": b"message=a\0b\n",
        "refused": "Could not extract ping message: the contents are not text (a zero byte)",
    },
)


def validate(contents):
    """Raise kit.Refused if there is no message key."""
    message_of(contents)


def apply(contents, host):
    return kit.Outcome(changed=False, message=message_of(contents))


def remove(contents, host):
    return kit.Outcome(changed=False, message="")


def message_of(contents):
    """Give the value of the message key."""
    try:
        values = kit.key_value(contents)
    except kit.Refused as refusal:
        raise kit.Refused("Could not extract ping message: %s" % refusal) from None
    if "message" not in values:
        raise kit.Refused("Message not found in contents file")
    return values["message"]


if __name__ == "__main__":
    kit.main(validate, apply, remove)
