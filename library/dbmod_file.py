#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module type that puts a file in its place, and what was there before back again."""

DOCUMENTATION = r"""
---
module: dbmod_file
short_description: Put a file in its place
version_added: "0.1.0"
description:
  - Contents are a header of C(key=value) lines, an empty line, and then the bytes of the file, whatever they are.
  - C(path) is absolute, or relative to the directory of the database server. Its folder must be there.
  - C(owner) and C(group) are names or numbers. Without them a file keeps its own, and a new one gets those of its
    folder where the path is relative, else those of the login.
  - C(mode) is octal, 0600 if unset.
  - C(validate) is a command, run without a shell, in which C(%s) stands for a private copy of the file. Unless it ends
    with 0, nothing is changed.
  - C(notify) is C(restart) or C(reload) and a unit of systemd, told where the file changed. If that fails, what was
    there before is put back, and the unit is told once more.
  - Removing puts back what was there before the first apply. Links, directories and dbmod's own files are refused.
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
    description: Validates the file, changes nothing and says what would change.
author:
  - The dbmod authors (@dbmod)
"""

EXAMPLES = r"""
- name: Let the DBAs restart their servers
  dbmod_file:
    contents: |
      path=/etc/sudoers.d/dba
      mode=0440
      validate=visudo -cf %s

      %dba ALL=(root) NOPASSWD: /usr/bin/systemctl restart mariadb

- name: Take that back
  dbmod_file:
    state: absent
"""

RETURN = r"""
message:
  description: What was done.
  returned: success
  type: str
  sample: /etc/sudoers.d/dba is in its place
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

import base64
import grp
import hashlib
import json
import os
import pwd
import re
import shlex
import stat
import tempfile
from typing import NamedTuple, Tuple

from ansible.module_utils import dbmod_kit as kit

KEYS = ("path", "owner", "group", "mode", "validate", "notify")
DECLARES = kit.Declares(scope="host", keys=KEYS, admin=True)

MODE = re.compile(r"[0-7]{3,4}\Z")
NOTIFY = re.compile(r"(restart|reload) [A-Za-z0-9][A-Za-z0-9@:_.\\-]*\Z")
HEADER_END = re.compile(rb"\r?\n\r?\n")
NUMBER = re.compile(r"[0-9]{1,10}\Z")
VALIDATION_SECONDS = 60

CASES = (
    {
        "contents": b"# ours\npath=/etc/there.conf\nmode=0640\n"
        b"validate=grep -q new %s\nnotify=restart mariadb\n\n# new\n",
        "message": "/etc/there.conf is in its place",
        "changed": True,
        "files": {"/etc/there.conf": b"# old\n"},
        "after": {"/etc/there.conf": b"# new\n"},
        "removed": "/etc/there.conf is as it was before",
        "after_removed": {"/etc/there.conf": b"# old\n"},
    },
    {
        "contents": b"path=bytes.dat\r\n\r\n\n\n\0\xff\r\n",
        "message": "bytes.dat is in its place",
        "after": {"bytes.dat": b"\n\n\0\xff\r\n"},
        "removed": "bytes.dat is as it was before",
        "after_removed": {"bytes.dat": None},
    },
    {"contents": b"path=/etc/x\nmode=0600\n", "refused": "there is no empty line between header and file"},
    {"contents": b"\n\npath=/etc/x\n", "refused": "the header has no path"},
    {"contents": b"path=/etc/x\nMode 0600\n\n", "refused": "the header's line 2 has no '='"},
    {
        "contents": b"path=/etc/x\nmod=0600\n\n",
        "refused": "the header has an unknown key; the known ones are path, owner, group, mode, validate, notify",
    },
    {"contents": b"path=/etc/../root/x\n\n", "refused": "path must be plain: no '..', '.', double or last '/'"},
    {"contents": b"path=../x\n\n", "refused": "path must be plain: no '..', '.', double or last '/'"},
    {"contents": b"path=/etc/\n\n", "refused": "path must be plain: no '..', '.', double or last '/'"},
    {"contents": b"path=/etc/x\nmode=u=rw\n\n", "refused": "mode takes three or four octal digits"},
    {"contents": b"path=/etc/x\nvalidate=visudo -c\n\n", "refused": "validate must be a command with %s in it"},
    {"contents": b"path=/etc/x\nvalidate=visudo '%s\n\n", "refused": "validate must be a command with %s in it"},
    {"contents": b"path=/etc/x\nnotify=stop mariadb\n\n", "refused": "notify takes restart or reload, and a unit"},
)


class Wanted(NamedTuple):
    """What the contents say; owner and group are empty where they say nothing."""

    path: str
    owner: str
    group: str
    mode: int
    validate: Tuple[str, ...]
    notify: Tuple[str, ...]
    body: bytes


class Before(NamedTuple):
    """A file as it was."""

    data: bytes
    mode: int
    owner: Tuple[int, int]


def validate(contents):
    """Raise kit.Refused if the header cannot be understood."""
    wanted_of(contents)


def apply(contents, host):
    wanted = wanted_of(contents)
    check_place(wanted.path, host)
    owner = owner_of(wanted, host)
    check_file(wanted, host)
    kept = kept_by(host) or {}
    now = {path: look(path, host) for path in [*kept, wanted.path]}
    first = kept.get(wanted.path, now[wanted.path])
    host.keep(encoded({**kept, wanted.path: first}))  # before anything changes: a killed host must know it later
    try:
        changed = [put(path, before, host) for path, before in kept.items() if path != wanted.path]
        changed.append(host.write_file(wanted.path, wanted.body, wanted.mode, owner))
        if any(changed) or host.unfinished:
            notify(wanted, host)
    except kit.Refused as refusal:
        taken_back = take_back(wanted, now, host)
        host.keep(encoded(kept))
        raise kit.Refused("%s; %s" % (refusal, taken_back)) from None
    host.keep(encoded({wanted.path: first}))
    return kit.Outcome(changed=any(changed), message="%s is in its place" % wanted.path)


def remove(contents, host):
    kept = kept_by(host)
    wanted = wanted_of(contents) if contents else None
    if kept is None:  # only recorded; or the apply failed before it touched anything, and the file is not ours
        kept = found_as_wanted(wanted, host) if wanted and not host.unfinished else {}
    changed = [put(path, before, host) for path, before in kept.items()]
    if wanted and (any(changed) or host.unfinished):
        notify(wanted, host)
    host.keep(None)
    message = "%s is as it was before" % ", ".join(sorted(kept)) if kept else ""
    return kit.Outcome(changed=any(changed), message=message)


def query(host):
    """Say how the file differs from what apply left; empty if it does not."""
    wanted = wanted_of(host.held)
    now = look(wanted.path, host)
    if now is None:
        return "%s is gone" % wanted.path
    if hashlib.sha256(now.data).digest() != hashlib.sha256(wanted.body).digest():
        return "%s is not what was applied" % wanted.path
    if now.mode != wanted.mode:
        return "%s has the mode %04o instead of %04o" % (wanted.path, now.mode, wanted.mode)
    if owner_of(wanted, host) not in (None, now.owner):
        return "%s belongs to %d:%d" % ((wanted.path, *now.owner))
    return ""


def wanted_of(contents):
    end = HEADER_END.search(contents)
    if end is None:
        raise kit.Refused("there is no empty line between header and file")
    try:
        values = kit.key_value(contents[: end.start()])
    except kit.Refused as refusal:
        raise kit.Refused("the header's %s" % refusal) from None
    if not set(values) <= set(KEYS):
        raise kit.Refused("the header has an unknown key; the known ones are %s" % ", ".join(KEYS))
    return Wanted(
        path=plain_path(values.get("path", "")),
        owner=values.get("owner", ""),
        group=values.get("group", ""),
        mode=mode_of(values.get("mode", "0600")),
        validate=validation_of(values.get("validate", "")),
        notify=notify_of(values.get("notify", "none")),
        body=contents[end.end() :],
    )


def plain_path(path):
    if not path:
        raise kit.Refused("the header has no path")
    if path.startswith("//") or os.path.normpath(path) != path or path in ("/", ".") or ".." in path.split("/"):
        raise kit.Refused("path must be plain: no '..', '.', double or last '/'")
    return path


def mode_of(text):
    if not MODE.match(text):
        raise kit.Refused("mode takes three or four octal digits")
    return int(text, 8)


def validation_of(text):
    try:
        words = shlex.split(text)
    except ValueError:
        words = [""]
    if words and not any("%s" in word for word in words[1:]):
        raise kit.Refused("validate must be a command with %s in it")
    return tuple(words)


def notify_of(text):
    if text == "none":
        return ()
    if not NOTIFY.match(text):
        raise kit.Refused("notify takes restart or reload, and a unit")
    return tuple(text.split(" "))


def owner_of(wanted, host):
    """Give uid and gid; None where the file keeps its own, or a new one is the login's."""
    now = look(wanted.path, host)
    base = now.owner if now is not None else None
    folder = os.path.dirname(place_of(wanted.path, host))
    if base is None and not wanted.path.startswith("/") and os.path.isdir(folder):
        status = os.stat(folder)
        base = (status.st_uid, status.st_gid)
    if not wanted.owner and not wanted.group:
        return base
    uid, gid = base or (os.geteuid(), os.getegid())
    try:
        if wanted.owner:
            uid = int(wanted.owner) if is_number(wanted.owner) else pwd.getpwnam(wanted.owner).pw_uid
        if wanted.group:
            gid = int(wanted.group) if is_number(wanted.group) else grp.getgrnam(wanted.group).gr_gid
    except KeyError:
        raise kit.Refused("owner or group is not known on this host") from None
    return uid, gid


def is_number(text):
    """Tell whether it is one of a user or group; the last of them means none."""
    return NUMBER.match(text) is not None and int(text) < 0xFFFFFFFF


def place_of(path, host):
    """Say where a path really is, without following the file itself if it is a link."""
    place = host.root + path if path.startswith("/") else os.path.join(host.directory, path)
    folder, name = os.path.split(place)
    return os.path.join(os.path.realpath(folder), name)


def check_place(path, host):
    """Raise kit.Refused where dbmod must not write."""
    place, directory = place_of(path, host), os.path.realpath(host.directory)
    if not path.startswith("/") and os.path.isdir(directory) and not is_inside(place, directory):
        raise kit.Refused("%s leads out of the server's directory" % path)
    if is_of_dbmod(place, directory, os.path.realpath(host.home)):
        raise kit.Refused("%s is dbmod's own" % path)
    if os.path.islink(place):
        raise kit.Refused("%s is a link" % path)
    if os.path.lexists(place) and not os.path.isfile(place):
        raise kit.Refused("%s is not a file" % path)
    is_made_yet = path.startswith("/") or "/" in path or os.path.isdir(directory) or not host.check
    if is_made_yet and not os.path.isdir(os.path.dirname(place)):
        raise kit.Refused("the folder of %s is not there" % path)


def is_of_dbmod(place, directory, home):
    """Tell whether it is where a host keeps what was applied, or the controller its ledger and key."""
    if place == os.path.join(home, "kit"):
        return True
    instances = os.path.join(home, "instances")
    if is_inside(place, instances):
        is_ours = is_inside(directory, instances) and is_inside(place, directory)
        return not is_ours or is_inside(place, os.path.join(directory, "modules"))
    if is_inside(place, directory):
        return False
    folder = os.path.dirname(place)
    while folder != "/":
        if os.path.exists(os.path.join(folder, "key")) and os.path.exists(os.path.join(folder, "contents")):
            return True
        folder = os.path.dirname(folder)
    return False


def is_inside(place, folder):
    return (place + "/").startswith(folder.rstrip("/") + "/")


def check_file(wanted, host):
    """Run the validation on a private copy of that name."""
    if not wanted.validate:
        return
    with tempfile.TemporaryDirectory(prefix="dbmod-") as folder:
        copy = os.path.join(folder, os.path.basename(wanted.path))
        try:
            with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(wanted.body)
        except OSError as error:
            raise kit.Refused("%s cannot be written (%s)" % (folder, error.strerror)) from None
        words = [word.replace("%s", copy) for word in wanted.validate]
        ended = host.command(words, changes=False, limit_seconds=VALIDATION_SECONDS)
    if ended.code != 0:
        raise kit.Refused("the validation ended with code %d; nothing was changed" % ended.code)


def look(path, host):
    """Give a file as it is; None where there is none."""
    data = host.read_file(path)
    if data is None:
        return None
    status = os.stat(host.path(path))
    return Before(data, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))


def put(path, before, host):
    """Make a file what it was; tell whether that is a change."""
    if before is None and not os.path.lexists(place_of(path, host)):
        return False  # perhaps with its folder, which is no reason to keep the module
    check_place(path, host)
    if before is None:
        return host.remove_file(path)
    return host.write_file(path, before.data, before.mode, before.owner)


def notify(wanted, host):
    if not wanted.notify:
        return
    ended = host.command(["systemctl", *wanted.notify], limit_seconds=host.patience_seconds())
    if ended.code != 0:
        raise kit.Refused("systemctl %s ended with code %d" % (" ".join(wanted.notify), ended.code))


def take_back(wanted, now, host):
    """Put everything back and tell the unit of it; say how that went."""
    changed = [put(path, before, host) for path, before in now.items()]
    if not any(changed):
        return "nothing was changed"
    try:
        notify(wanted, host)
    except kit.Refused:
        return "what was there before is back, but not even with that it works"
    return "what was there before is back"


def found_as_wanted(wanted, host):
    """Tell of a file that was there before dbmod came, and was only recorded: it goes if it is still that file."""
    now = look(wanted.path, host)
    return {wanted.path: None} if now is not None and now.data == wanted.body else {}


def kept_by(host):
    """Give path → Before of what was put in its place; None where nothing is known of that."""
    data = host.kept()
    if data is None:
        return None
    try:
        found = json.loads(data.decode("ascii"))
        return {path: before_of(fields) for path, fields in found.items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        raise kit.Refused("what dbmod kept of the file before is damaged") from None


def before_of(fields):
    if fields is None:
        return None
    return Before(base64.b64decode(fields["data"]), int(fields["mode"]), (int(fields["uid"]), int(fields["gid"])))


def encoded(kept):
    fields = {
        path: None
        if before is None
        else {
            "data": base64.b64encode(before.data).decode("ascii"),
            "mode": before.mode,
            "uid": before.owner[0],
            "gid": before.owner[1],
        }
        for path, before in kept.items()
    }
    return json.dumps(fields).encode("ascii")


if __name__ == "__main__":
    kit.main(validate, apply, remove, query)
