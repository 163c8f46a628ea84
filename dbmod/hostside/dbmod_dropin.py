# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A file beside the server's own configuration, which includes it; and the restart that some of its lines need.

A server is a part of the kit, dbmod_redis and the like, with the same names in each: NAME, TITLE, MAIN, USUAL, ENDING,
DOWN_SECONDS, include_line, includes, arrange, connect.
"""

import contextlib
import glob
import hashlib
import json
import os
import re
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import dbmod_kit as kit

OWN = "etc/conf.d"  # of an instance that dbmod made
ADOPTED = "/etc/dbmod/%s"
# AppArmor lets the MySQL of Debian and Ubuntu read here alone; it does not start with an !includedir it cannot read.
BESIDE_MYSQL = "/etc/mysql/dbmod/%s"
STATE = "%s/dbmod-%s.state"  # what the module's type has to remember
POLL_SECONDS = 0.05

State = Dict[str, Any]
Old = Tuple[Optional[bytes], Optional[bytes]]  # a file of settings, and the state that belongs to it


class Site(NamedTuple):
    """Where the settings of one module lie, and the configuration that includes them."""

    server: Any
    host: kit.Host
    directory: str
    main_file: str
    main: str

    @property
    def file(self) -> str:
        return "%s/dbmod-%s%s" % (self.directory, self.host.module, self.server.ENDING)

    @property
    def state_file(self) -> str:
        return STATE % (self.directory, self.host.module)

    @property
    def seen(self) -> str:
        """Give the directory as the server's own configuration names it."""
        return os.path.join(self.host.directory, self.directory)


def site_of(server: Any, host: kit.Host) -> Site:
    """Find the server's own configuration: of an instance that dbmod made, else where distributions have it."""
    own = "etc/" + server.MAIN
    main = host.read_file(own)
    if main is not None:
        return Site(server, host, OWN, own, main.decode("utf-8", "replace"))
    found = [path for pattern in server.USUAL for path in _paths(pattern, host)]
    texts = {path: (host.read_file(path) or b"").decode("utf-8", "replace") for path in found}
    said = re.compile(r"^\s*port\s*[= ]\s*%d\b" % host.port, re.MULTILINE)
    for path in [path for path in found if said.search(texts[path])] + found:
        return Site(server, host, _adopted(server, host.instance, path, texts[path]), path, texts[path])
    raise kit.Refused("the configuration of %s is in none of %s" % (server.TITLE, ", ".join(server.USUAL)))


def main_of(server: Any, host: kit.Host) -> str:
    """Give the text of the server's own configuration, "" where it cannot be read, or lies in no usual place."""
    try:
        return site_of(server, host).main
    except kit.Refused:
        return ""


def _adopted(server: Any, instance: str, main_file: str, main: str) -> str:
    usual = ADOPTED % instance
    is_beside = main_file.startswith("/etc/mysql/") and not server.includes(main, usual)
    return BESIDE_MYSQL % instance if is_beside else usual


def _paths(pattern: str, host: kit.Host) -> List[str]:
    length = len(os.path.realpath(host.root)) if host.root else 0
    return [path[length:] for path in sorted(glob.glob(host.path(pattern)))]


def require_include(site: Site) -> None:
    """Refuse where the server would not read the settings; the line that is missing can be added at once."""
    site.host.make_directory(site.directory)
    site.server.arrange(site.host, site.directory, site.main_file, _present(site))
    if not site.server.includes(site.main, site.seen):
        line = site.server.include_line(site.seen)
        main_file = os.path.join(site.host.directory, site.main_file)
        raise kit.Refused("%s does not include dbmod's settings: add at its end: %s" % (main_file, line))


def _present(site: Site, without: str = "") -> List[str]:
    folder = site.host.path(site.directory)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    own = [name for name in names if name.startswith("dbmod-") and name.endswith(site.server.ENDING)]
    return [name for name in own if name != without]


def place(site: Site, data: Optional[bytes]) -> None:
    """Write the file, or remove it; the server must never read the name of a file that is not there."""
    if data is not None:
        site.host.write_file(site.file, data, like=site.main_file)
    site.server.arrange(
        site.host, site.directory, site.main_file, _present(site, os.path.basename(site.file) if data is None else "")
    )
    if data is None:
        site.host.remove_file(site.file)


def kept(site: Site) -> Old:
    """Give file and state, to put them back."""
    return site.host.read_file(site.file), site.host.read_file(site.state_file)


def put_back(site: Site, old: Old) -> None:
    data, state = old
    place(site, data)
    if state is None:
        site.host.remove_file(site.state_file)
    else:
        site.host.write_file(site.state_file, state)


@contextlib.contextmanager
def connected(site: Site) -> Iterator[Any]:
    """Give a connection to the server, None where it does not answer."""
    link = site.server.connect(site.host, site.main)
    try:
        yield link
    finally:
        if link is not None:
            link.close()


def restart(site: Site, started: Optional[str]) -> str:
    """Run the instance's own command and wait until the server answers; give a reason if it does not.

    started  what must not answer any more: the start before
    """
    patience = site.host.patience_seconds()  # a server may read its data for long, and then answers that it is busy
    until = time.monotonic() + patience
    try:
        ended = site.host.command(site.host.restart_command, limit_seconds=patience)
    except kit.Refused as refusal:
        return str(refusal)
    if ended.code != 0:
        said = [line for line in (ended.output + ended.errors).splitlines() if line.strip()]
        return kit.one_line(said[0])[:100] if said else "its restart command ended with code %d" % ended.code
    answered, reason = time.monotonic(), "it does not answer after its restart"
    while time.monotonic() < min(answered + site.server.DOWN_SECONDS, until):
        try:
            with connected(site) as link:
                if link is not None and link.started() != started:
                    return ""
        except kit.Busy:
            answered = time.monotonic()
        except kit.Refused as refusal:  # it lets us in no more, or died once more
            reason = str(refusal)
        time.sleep(POLL_SECONDS)
    return reason


def restarted(site: Site, link: Any, waiting: List[str], old: Old, restarts: bool) -> List[str]:
    """Restart the server where settings wait for it; give those that still do.

    old     file and state, which are put back where it does not come up
    Raises  Refused, after the old settings are back
    """
    if not waiting or not restarts or not site.host.restart_command:
        return waiting
    reason = restart(site, link.started())
    if not reason:
        return []
    put_back(site, old)
    still = restart(site, None)
    state = "it still does not answer" if still else "it is up"
    raise kit.Refused(
        "%s did not come up, the old settings are back and %s; refused with %s: %s"
        % (site.server.TITLE, state, ", ".join(waiting), reason)
    )


def waiting_of(state: State, link: Any) -> List[str]:
    """Give the settings that wait for a restart which has not been since."""
    waiting: List[str] = state["pending"]
    return waiting if link is not None and link.started() == state["started"] else []


def state_of(host: kit.Host) -> Optional[State]:
    """Read what the last apply wrote down; None where there was none."""
    for directory in (OWN, ADOPTED % host.instance, BESIDE_MYSQL % host.instance):
        data = host.read_file(STATE % (directory, host.module))
        if data is not None:
            state: State = json.loads(data.decode("utf-8"))
            return state
    return None


def write_state(site: Site, state: State) -> None:
    site.host.write_file(site.state_file, json.dumps(state, sort_keys=True).encode("utf-8"))


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
