#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module type that is a drop-in for the database server's own configuration."""

DOCUMENTATION = r"""
---
module: dbmod_config
short_description: Keep settings of the database server, checked before use
version_added: "0.1.0"
description:
  - Keeps a file of settings that the server's own configuration includes. The server checks it before it is used;
    settings are changed at run time where the server can, else it is restarted by the instance's own command.
    A server that does not come up with them gets the old ones back.
  - Contents are in the server's own syntax, of Redis, MariaDB, MySQL or PostgreSQL. C(@memory_mib*0.7@) and the like
    are filled in on the host. A first comment line C(dbmod:no-restart) leaves a restart to you.
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
- name: Let Redis drop what was used least
  dbmod_config:
    contents: |
      maxmemory-policy allkeys-lru

- name: Back to what it was
  dbmod_config:
    state: absent
"""

RETURN = r"""
message:
  description: What is in effect, named by the beginning of its SHA-256, and what waits for a restart.
  returned: success
  type: str
  sample: settings 2cf24dba5fb0 in effect
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

import re
import zlib

from ansible.module_utils import dbmod_dropin as dropin
from ansible.module_utils import dbmod_expressions as expressions
from ansible.module_utils import dbmod_kit as kit
from ansible.module_utils import dbmod_mysql as mysql
from ansible.module_utils import dbmod_overrides as overrides
from ansible.module_utils import dbmod_postgresql as postgresql
from ansible.module_utils import dbmod_redis as redis

SERVERS = {"redis": redis, "mysql": mysql, "postgresql": postgresql}
DECLARES = kit.Declares(restarts=True, datastores=tuple(SERVERS), admin=True)  # archive_command, init_file …

EMPTY = {"digest": "", "before": {}, "texts": {}, "values": {}, "unseen": [], "pending": [], "started": "", "stuck": {}}
DIRECTIVE = re.compile(r"#\s*dbmod:\s*(.*)")
SAMPLE = {"memory_mib": 1024, "address": "127.0.0.1", "port": 1024, "server_id": 1}

CASES = (
    {
        "contents": b"# dbmod: no-restart\nmaxmemory-policy allkeys-lru\n",
        "message": "settings 2a990ecc2512 written, pending restart: Redis does not answer",
        "changed": True,
        "files": {"/etc/redis/redis.conf": b'port 1\ninclude "/etc/dbmod/standalone/index.conf"\n'},
        "removed": "settings removed",
        "after_removed": {"/etc/dbmod/standalone/index.conf": b""},
    },
    {"contents": b"port 1\n", "refused": "line 1: port belongs to the instance, not to a module"},
    {"contents": b"maxmemory @memory_mib*@mb\n", "refused": "line 1: an expression ends too early"},
    {"contents": b"# dbmod: fast\nmaxmemory 1mb\n", "refused": "the first line: 'dbmod:' knows only no-restart"},
    {"contents": b"# nothing\n", "refused": "the contents hold no setting"},
    {"contents": b"\xff\n", "refused": "the contents are not UTF-8 text (byte 0)"},
)


def validate(contents):
    """Raise kit.Refused for what no server could take, as far as that is seen without one."""
    text = text_of(contents)
    may_restart(text)
    SERVERS[kind_of(text)].settings(expressions.render(text, SAMPLE))


def apply(contents, host):
    text = text_of(contents)
    site = site_of(kind_of(text), host)
    dropin.require_include(site)
    rendered = expressions.render(text, values_of(site))
    with dropin.connected(site) as link:
        if link is None and may_restart(text):
            raise kit.Refused("%s does not answer, so nothing was written" % site.server.TITLE)
        expected = site.server.check(host, rendered, site.main_file, link)
        return made(site, link, rendered, expected, may_restart(text))


def remove(contents, host):
    state = dropin.state_of(host)
    if state is None:
        return kit.Outcome(False, "settings removed")
    if host.check:
        return kit.Outcome(True, "settings removed")
    site = site_of(state["server"], host)
    with dropin.connected(site) as link:
        before = state["before"]
        now = {} if link is None else link.values(sorted(before))
        found = overrides.find(site, link, state["values"], now)
        old = dropin.kept(site)
        dropin.place(site, None)
        waiting = set(state["values"]) - set(before) | set(state["unseen"])
        if link is None:
            waiting = []
        else:
            others = [name for name in found if now[name] != state["values"][name]]  # which are not ours to change
            waiting.update(link.make_live({n: before[n] for n in now if now[n] != before[n] and n not in others}))
            restarts = may_restart(contents.decode("utf-8", "replace"))
            waiting = dropin.restarted(site, link, sorted(waiting), old, restarts)
    host.remove_file(site.state_file)
    return kit.Outcome(True, joined("settings removed", pending(waiting), overrides.kept(site, before, waiting)))


def query(host):
    """Say what is missing of what apply left, has another value by now, or waits for a restart; empty if nothing."""
    state = dropin.state_of(host)
    if state is None:
        return "the settings are gone"
    site = site_of(state["server"], host)
    if dropin.digest_of(host.read_file(site.file) or b"") != state["digest"]:
        return "the settings on the host are not what was applied"
    if not site.server.includes(site.main, site.seen):
        return "%s no longer includes the settings" % site.main_file
    try:
        with dropin.connected(site) as link:
            if link is None:
                return ""  # nothing to compare with; that it is down is told elsewhere
            now = link.values(sorted(state["values"]))
            waiting = dropin.waiting_of(state, link)
            found = overrides.find(site, link, state["values"], now)
    except kit.Busy:
        return ""
    return overrides.told(state["values"], now, waiting, found) or pending(waiting)


def made(site, link, rendered, expected, restarts):
    """Bring file and server to where they belong, if they are not there."""
    data, old_state = rendered.encode("utf-8"), dropin.state_of(site.host) or EMPTY
    is_placed = site.host.read_file(site.file) == data and old_state["digest"] == dropin.digest_of(data)
    names = site.server.settings(rendered)
    if not site.server.EXACT:  # what the same text became last time counts
        same = [name for name in expected if old_state["texts"].get(name) == names[name]]
        expected = dict(expected, **{name: old_state["values"].get(name, expected[name]) for name in same})
    wanted = dict({name: value for name, value in old_state["before"].items() if name not in expected}, **expected)
    now = {} if link is None else link.values(sorted(wanted))
    waiting = dropin.waiting_of(old_state, link) if is_placed else []
    found = overrides.find(site, link, expected, now) if is_placed else {}
    stuck = old_state.get("stuck", {}) if is_placed else {}
    left = overrides.left(site, now, found, stuck).union(waiting)
    differing = {name: wanted[name] for name in now if now[name] != wanted[name] and name not in left}
    is_whole = is_placed and not site.host.unfinished
    if site.host.check or (is_whole and not differing):
        then = dict(now, **differing) if is_placed else {}
        told = overrides.told(expected, then, waiting, found)
        said = unanswered(site, data) if link is None else message_of(data, waiting, told)
        return kit.Outcome(not is_placed or bool(differing), said)
    state = {
        "server": site.server.NAME,
        "digest": dropin.digest_of(data),
        "before": {name: old_state["before"].get(name, now[name]) for name in now},  # also of what is no longer set
        "texts": names,
        "values": expected,
        "unseen": sorted(set(names) - set(expected)),
        "pending": [],
        "started": "",
        "stuck": {},
    }
    old = dropin.kept(site)
    dropin.write_state(site, state)
    dropin.place(site, data)
    if link is None:
        return kit.Outcome(True, unanswered(site, data))
    found = overrides.find(site, link, expected, now)
    left = overrides.left(site, now, found, stuck)
    tried = {name: value for name, value in differing.items() if name not in left}
    unseen = [] if is_whole else set(state["unseen"]) | (set(old_state["unseen"]) - set(names))
    waiting = sorted(set(waiting) | set(unseen) | (set(made_live(link, tried)) - set(found)))
    state["pending"] = dropin.restarted(site, link, waiting, old, restarts)
    return settled(site, state, is_change=not is_placed or state["pending"] != waiting, tried=tried)


def made_live(link, wanted):
    """Set values at run time; give the names that need a restart."""
    try:
        return link.make_live(wanted)
    except kit.Refused as refusal:
        raise kit.Refused("%s; the settings are written, apply them again once it answers" % refusal) from None


def settled(site, state, is_change, tried):
    """Write down what the server has in the end, and say what something else overrides."""
    with dropin.connected(site) as link:
        if link is None:
            raise kit.Refused("%s does not answer any more" % site.server.TITLE)
        now = link.values(sorted(state["values"]))
        found = overrides.find(site, link, state["values"], now)
        back = {name: state["values"][name] for name in found if now[name] != state["values"][name]}
        if back and not site.server.YIELDS:  # a restart took it
            link.make_live(back)
            now = link.values(sorted(state["values"]))
        state["started"] = link.started()
    if not site.server.EXACT:
        taken = {name: now[name] for name in now if name not in state["pending"] and name not in found}
        state["values"].update(taken)
    state["before"] = {name: value for name, value in state["before"].items() if name in state["values"]}
    others = [name for name in now if now[name] != state["values"][name] and name not in state["pending"]]
    state["stuck"] = {name: [now[name], found.get(name, "")] for name in others}
    dropin.write_state(site, state)
    told = overrides.told(state["values"], now, state["pending"], found)
    message = message_of(site.host.read_file(site.file), state["pending"], told)
    return kit.Outcome(is_change or any(name not in others for name in tried), message)


def text_of(contents):
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise kit.Refused("the contents are not UTF-8 text (byte %d)" % error.start) from None
    if "\0" in text or "\r" in text.replace("\r\n", "\n"):
        raise kit.Refused("the contents are not text (a zero byte, or a lone carriage return)")
    return text.replace("\r\n", "\n")


def may_restart(text):
    """Tell whether a restart is dbmod's affair: a first line may leave it to the user."""
    found = DIRECTIVE.match(text.split("\n", 1)[0])
    if found and found.group(1).strip() != "no-restart":
        raise kit.Refused("the first line: 'dbmod:' knows only no-restart")
    return found is None


def kind_of(text):
    """Tell whose syntax it is: MySQL's has sections, PostgreSQL's an equals sign, Redis's neither."""
    lines = [line.strip() for line in text.split("\n") if line.strip() and not line.lstrip().startswith(("#", ";"))]
    if not lines:
        raise kit.Refused("the contents hold no setting")
    if lines[0].startswith(("[", "!")):
        return "mysql"
    return "postgresql" if re.match(r"[A-Za-z_][\w.]*\s*=", lines[0]) else "redis"


def site_of(kind, host):
    if host.datastore and host.datastore != kind:
        raise kit.Refused("the contents are settings of %s, and this is %s" % (kind, host.datastore))
    return dropin.site_of(SERVERS[kind], host)


def values_of(site):
    """Give what expressions may name."""
    host = site.host
    return {
        "memory_mib": host.memory_mib,
        "address": host.address,
        "port": host.port,
        "server_id": zlib.crc32(host.instance.encode("utf-8")) or 1,  # unique enough in a group of replicas
    }


def message_of(data, waiting, told):
    is_live = not told or told.startswith(overrides.LATER)
    said = "settings %s %s" % (dropin.digest_of(data)[:12], "in effect" if is_live else "written")
    return joined(said, pending(waiting), told)


def unanswered(site, data):
    return "settings %s written, pending restart: %s does not answer" % (dropin.digest_of(data)[:12], site.server.TITLE)


def pending(waiting):
    return "pending restart: %s" % ", ".join(waiting) if waiting else ""


def joined(*parts):
    return ", ".join(part for part in parts if part)


if __name__ == "__main__":
    kit.main(validate, apply, remove, query)
