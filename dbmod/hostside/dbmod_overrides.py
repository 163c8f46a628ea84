# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What counts more than a module's file of settings: files that are read later, and what the server keeps by itself.

SET PERSIST, ALTER SYSTEM and CONFIG REWRITE outlive every restart, so a value that only runs is half the truth.
"""

import glob
import os
from typing import Any, Callable, Collection, Dict, List, Set, Tuple

from . import dbmod_dropin as dropin
from . import dbmod_kit as kit
from . import dbmod_redis as redis

Values = Dict[str, str]

LATER = "overridden at its next start"  # until then it has what was applied
COMMAND_LINE = "its command line"
DEPTH = 10  # of files that include others
# What MySQL keeps, and where each value came from: MySQL 8 and MariaDB 10.5 know, older ones answer with an error.
ORIGINS = """SELECT lower(variable_name),
/*!80000 variable_source, variable_path FROM performance_schema.variables_info */
/*M!100500 global_value_origin, ifnull(global_value_path, '') FROM information_schema.system_variables */
WHERE variable_name IN ({names})
/*!80000 UNION ALL SELECT lower(variable_name), 'KEPT', variable_value FROM performance_schema.persisted_variables
WHERE variable_name IN ({names}) */
UNION ALL SELECT '', 'DATA', @@GLOBAL.datadir UNION ALL SELECT '', 'PROCESS', @@GLOBAL.pid_file;
"""
# The last line of each setting that PostgreSQL's files hold by now, and the last one of the module's own file.
LINES = """SELECT lower(s.name), s.source, coalesce(s.sourcefile, ''),
    f.sourcefile, f.setting IS DISTINCT FROM o.setting
FROM pg_settings s LEFT JOIN (SELECT DISTINCT ON (lower(name)) lower(name) AS name, sourcefile, setting
    FROM pg_file_settings ORDER BY lower(name), seqno DESC) f ON f.name = lower(s.name)
LEFT JOIN (SELECT DISTINCT ON (lower(name)) lower(name) AS name, setting
    FROM pg_file_settings WHERE sourcefile = '{file}' ORDER BY lower(name), seqno DESC) o ON o.name = lower(s.name)
WHERE lower(s.name) IN ({names});
"""
OF_SESSION = ("database", "user", "database user", "client", "session")


def find(site: Any, link: Any, wanted: Values, now: Values) -> Values:
    """Say which settings have their value from another place, now or from the next start on; and from which.

    wanted  what the module's file makes of them
    now     what the server has
    Returns  name → path; "" where it is our own session alone that differs
    """
    names = sorted(name for name in wanted if name in now)
    return FINDERS[site.server.NAME](site, link, {name: wanted[name] for name in names}, now) if names else {}


def told(wanted: Values, now: Values, waiting: Collection[str], found: Values) -> str:
    """Say it in words, which begin with `overridden`; empty if nothing is.

    waiting  settings whose restart has not been
    """
    groups: Dict[str, Tuple[List[str], List[str]]] = {}
    for name in sorted(set(wanted) & set(now) - set(waiting)):
        place, is_other = found.get(name), now[name] != wanted[name]
        if place or (is_other and place is None):
            groups.setdefault(place or "", ([], []))[0 if is_other else 1].append(name)
    said = [_words(place, *names) for place, names in sorted(groups.items())]
    return ", ".join(sorted(said, key=lambda words: words.startswith(LATER)))


def _words(place: str, others: List[str], later: List[str]) -> str:
    by = " by " + place if place else ""
    words = ["overridden%s: %s" % (by, ", ".join(others))] if others else []
    if later:
        words.append("%s: %s" % ("at its next start" if others else LATER + by, ", ".join(later)))
    return ", ".join(words)


def left(site: Any, now: Values, found: Values, stuck: Dict[str, List[str]]) -> Set[str]:
    """Choose what an apply does not try to change: it would be in vain, or against what somebody else wants to last.

    stuck  what had another value after all that the last apply did: name → value and place; as long as both are so
    """
    names = {name for name in stuck if stuck[name] == [now.get(name), found.get(name, "")]}
    return names | (set(found) if site.server.YIELDS else set())


def kept(site: Any, before: Values, waiting: Collection[str]) -> str:
    """Say after a removal what does not get back the value from before, as another place keeps one."""
    with dropin.connected(site) as link:
        now = {} if link is None else link.values(sorted(before))
        found = find(site, link, before, now)
    others = told({name: before[name] for name in before if found.get(name)}, now, waiting, found)
    return others.replace("overridden", "still set")


def _of_mysql(site: Any, link: Any, wanted: Values, now: Values) -> Values:
    ended = link.ask(ORIGINS.format(names=", ".join("'%s'" % name for name in wanted)))
    rows = [line.split("\t") for line in ended.output.split("\n") if line.count("\t") == 2] if ended.code == 0 else []
    facts = {origin: text for name, origin, text in rows if not name}
    own, found = os.path.realpath(site.host.path(site.file)), {}
    # Until it starts again, it tells of the files that it read before ours was there.
    has_read = bool(facts) and 0 < _written(own) < _written(site.host.path(facts["PROCESS"]))
    for name, origin, text in rows:
        if origin == "KEPT" and text != wanted[name]:
            found[name] = os.path.join(facts["DATA"], "mysqld-auto.cnf")
        elif name in found or origin in ("KEPT", "PERSISTED") or not name or now[name] == wanted[name]:
            continue
        elif origin in ("COMMAND_LINE", "COMMAND-LINE"):
            found[name] = COMMAND_LINE
        elif has_read and text and os.path.realpath(text) != own:
            found[name] = text
    return found


def _of_postgresql(site: Any, link: Any, wanted: Values, now: Values) -> Values:
    own = os.path.normpath(os.path.join(site.seen, os.path.basename(site.file)))  # as the server names it
    quoted = ", ".join("'%s'" % name for name in wanted)
    ended = link.ask(LINES.format(names=quoted, file=own.replace("'", "''")))
    found = {}
    rows = [line.split("\t") for line in ended.output.split("\n") if line.count("\t") == 4] if ended.code == 0 else []
    for name, source, read, last, is_other in rows:
        if source in OF_SESSION:
            found[name] = ""
        elif source == "command line" and now[name] != wanted[name]:
            found[name] = COMMAND_LINE
        elif last and last != own and (now[name] != wanted[name] if read == last else is_other == "t"):
            found[name] = last
    return found


def _of_redis(site: Any, link: Any, wanted: Values, now: Values) -> Values:
    """Ask a scratch server what it makes of all lines together, where any comes after the module's own."""
    del now
    own = os.path.realpath(site.host.path(site.file))
    lines = [line for line in _lines(site.host, site.host.path(site.main_file), 0) if line[1] in wanted]
    last = max((number for number, line in enumerate(lines) if os.path.realpath(line[0]) == own), default=-1)
    later = {name: path for path, name, _ in lines[last + 1 :]}
    if not later:
        return {}
    try:
        start = redis.read(link, "".join(text + "\n" for _, _, text in lines), sorted(later))
    except kit.Refused:
        return later
    return {name: path for name, path in later.items() if start.get(name) != wanted[name]}


def _lines(host: kit.Host, path: str, depth: int) -> List[Tuple[str, str, str]]:
    """Read a redis.conf with all that it includes: path, name and text of each line, in the server's order."""
    found: List[Tuple[str, str, str]] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            texts = file.read().split("\n")
    except OSError:
        return found
    for text in texts:
        words = redis.words_of(text)
        if len(words) == 2 and words[0].lower() == "include" and depth < DEPTH:
            for one in sorted(glob.glob(host.path(words[1]))):
                found += _lines(host, one, depth + 1)
        elif words:
            found.append((path, words[0].lower(), text))
    return found


def _written(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0


FINDERS: Dict[str, Callable[[Any, Any, Values, Values], Values]] = {
    "mysql": _of_mysql,
    "postgresql": _of_postgresql,
    "redis": _of_redis,
}
