#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module type that gives the New Relic infrastructure agent its license key."""

DOCUMENTATION = r"""
---
module: dbmod_new_relic_license
short_description: Set the license key of the New Relic infrastructure agent
version_added: "0.1.0"
description:
  - Sets C(license_key) in C(/etc/newrelic-infra.yml), keeps the rest of the file, and restarts the service
    C(newrelic-infra) only where the file changed. The agent itself must be installed.
  - Contents are C(key=value) lines with the key C(license_key), in any case. The host keeps no copy of them.
  - Removing takes the key out of the file and stops the agent.
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
- name: License the agent
  dbmod_new_relic_license:
    contents: "license_key={{ vault_new_relic_license_key }}"
  no_log: true

- name: Take the license back
  dbmod_new_relic_license:
    state: absent
"""

RETURN = r"""
message:
  description: What was done.
  returned: success
  type: str
  sample: New Relic license key installed
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

import contextlib
import re

from ansible.module_utils import dbmod_kit as kit

DECLARES = kit.Declares(needs=("root", "systemd"), scope="host", secret=True, keys=("license_key",))

FILE = "/etc/newrelic-infra.yml"
SERVICE = "newrelic-infra"
NOT_INSTALLED = "New Relic license key not installed: %s"
KEY = re.compile(r"[A-Za-z0-9_-]{8,128}\Z")  # a real one has 40 characters; nothing that YAML could read otherwise
SETTING = re.compile(rb"""["']?license_key["']?[ \t]*:""")

CASES = (
    {
        "contents": b"license_key=0123456789abcdef0123456789abcdef0123NRAL\n",
        "message": "New Relic license key installed",
        "changed": True,
        "files": {FILE: b"# ours\nlog:\n  level: info\nlicense_key: old_key_of_before # old\ndisplay_name: db-7\n"},
        "after": {
            FILE: b"# ours\nlog:\n  level: info\n"
            b"license_key: 0123456789abcdef0123456789abcdef0123NRAL\ndisplay_name: db-7\n"
        },
        "removed": "New Relic license key removed",
        "after_removed": {FILE: b"# ours\nlog:\n  level: info\ndisplay_name: db-7\n"},
        "canary": b"0123456789abcdef0123456789abcdef0123NRAL",
    },
    {
        "contents": b"# of 2026\nLICENSE_KEY = abcdefgh-0123_NRAL",
        "message": "New Relic license key installed",
        "changed": True,
        "after": {FILE: b"license_key: abcdefgh-0123_NRAL\n"},
        "after_removed": {FILE: b""},
        "canary": b"abcdefgh-0123_NRAL",
    },
    {"contents": b"key=1\n", "refused": "'license_key' not found in contents file"},
    {"contents": b"key\n", "refused": "New Relic license key not installed: line 1 has no '='"},
    {
        "contents": b"license_key=canary: {x}\n",
        "refused": "New Relic license key not installed: the key must have 8 to 128 letters of ASCII, digits, _ and -",
        "canary": b"canary: {x}",
    },
)


def validate(contents):
    """Raise kit.Refused if there is no license key, or one that the agent's file could not hold."""
    license_key_of(contents)


def apply(contents, host):
    key = license_key_of(contents)
    try:
        before = host.read_file(FILE)
        changed = host.write_file(FILE, with_key(before or b"", key))
        if changed or host.unfinished:
            restart(host, before)
    except kit.Refused as refusal:
        raise kit.Refused(NOT_INSTALLED % refusal) from None
    return kit.Outcome(changed=changed, message="New Relic license key installed")


def remove(contents, host):
    before = host.read_file(FILE)
    changed = before is not None and host.write_file(FILE, without_key(before))
    state = host.command(["systemctl", "show", "--property=ActiveState", SERVICE], changes=False)
    if state.output.strip() not in ("ActiveState=inactive", "ActiveState=failed"):
        stopped = host.command(["systemctl", "stop", SERVICE])
        if stopped.code != 0:
            raise kit.Refused("New Relic agent not stopped: systemctl stop ended with code %d" % stopped.code)
        changed = True
    return kit.Outcome(changed=changed, message="New Relic license key removed")


def query(host):
    """Say what is missing of what apply left; empty if nothing is."""
    return "" if has_key(host.read_file(FILE) or b"") else "license_key is not in %s" % FILE


def restart(host, before):
    """Restart the agent; if it does not start, put the old file back and start it with the key that it had."""
    words = ["systemctl", "restart", SERVICE]
    try:
        code = host.command(words, limit_seconds=host.patience_seconds()).code
        if code != 0:
            raise kit.Refused("systemctl restart %s ended with code %d" % (SERVICE, code))
    except kit.Refused:
        if before is None:
            host.remove_file(FILE)
        else:
            host.write_file(FILE, before)
        if has_key(before or b""):
            with contextlib.suppress(kit.Refused):
                host.command(words, limit_seconds=host.patience_seconds())
        raise


def license_key_of(contents):
    """Give the value of license_key; the reason of a refusal never quotes it."""
    try:
        values = kit.key_value(contents)
    except kit.Refused as refusal:
        raise kit.Refused(NOT_INSTALLED % refusal) from None
    if "license_key" not in values:
        raise kit.Refused("'license_key' not found in contents file")
    if not KEY.match(values["license_key"]):
        raise kit.Refused(NOT_INSTALLED % "the key must have 8 to 128 letters of ASCII, digits, _ and -")
    return values["license_key"]


def has_key(text):
    return any(SETTING.match(line) for line in text.splitlines())


def with_key(text, key):
    """Put the key where the old one was, or at the end."""
    lines, position = split(text)
    setting = b"license_key: " + key.encode("ascii") + b"\n"
    if position is None:
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += b"\n"
        position = len(lines)
    lines.insert(position, setting)
    return b"".join(lines)


def without_key(text):
    return b"".join(split(text)[0])


def split(text):
    """Give the lines without any license_key setting (and the lines that continue it), and where the first one was."""
    kept, blank, position, continues = [], [], None, False
    for line in text.splitlines(True):
        if continues and not line.strip():
            blank.append(line)  # belongs to the setting only if it goes on after it
        elif SETTING.match(line):
            kept, blank, continues = kept + blank, [], True
            position = len(kept) if position is None else position
        elif continues and line[:1] in (b" ", b"\t"):
            blank = []
        else:
            kept, blank, continues = kept + blank + [line], [], False
    return kept + blank, position


if __name__ == "__main__":
    kit.main(validate, apply, remove, query)
