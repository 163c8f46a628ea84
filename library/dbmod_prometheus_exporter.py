#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module type that runs the Prometheus exporter of a database server."""

DOCUMENTATION = r"""
---
module: dbmod_prometheus_exporter
short_description: Run the Prometheus exporter of the database server
version_added: "0.1.0"
description:
  - Installs mysqld_exporter, redis_exporter or postgres_exporter from the distribution's package, makes it an account
    in the server that sees no data, and runs it under a systemd unit of this server's own, as a user that exists only
    while it runs. It is applied when a scrape says that the exporter reaches the server; otherwise what was there
    before comes back.
  - Contents are C(key=value) lines. C(listen) is C(ADDRESS:PORT) or C(:PORT), in which C(@port+3000@) counts from the
    server's port. C(flags) are flags of the exporter that choose what it collects. C(user) and C(password_file) name an
    account of your own, C(datastore) the kind of server.
  - Removing takes the unit and the account; the package stays.
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
- name: Let Prometheus see Redis
  dbmod_prometheus_exporter:
    contents: |
      datastore=redis
      listen=:9121

- name: No longer
  dbmod_prometheus_exporter:
    state: absent
"""

RETURN = r"""
message:
  description: Where the exporter listens, and what the scrape said.
  returned: success
  type: str
  sample: redis_exporter on :9121 says redis_up 1
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
import http.client
import ipaddress
import re
import secrets
import shlex
import socket
import time
from typing import Any, NamedTuple, Optional, Tuple

from ansible.module_utils import dbmod_dropin as dropin
from ansible.module_utils import dbmod_exporters as exporters
from ansible.module_utils import dbmod_expressions as expressions
from ansible.module_utils import dbmod_kit as kit
from ansible.module_utils import dbmod_mysql as mysql
from ansible.module_utils import dbmod_packages as packages
from ansible.module_utils import dbmod_postgresql as postgresql
from ansible.module_utils import dbmod_redis as redis

SERVERS = {"mysql": mysql, "postgresql": postgresql, "redis": redis}
KEYS = ("listen", "flags", "user", "password_file", "datastore")
# It reads password_file as root, so only an admin registers one.
DECLARES = kit.Declares(needs=("root", "systemd"), keys=KEYS, datastores=tuple(SERVERS), admin=True)

ACCOUNT = "dbmod_exporter"
HEALTH_SECONDS = 20
POLL_SECONDS = 0.25
SCRAPE_SECONDS = 10
SCRAPE_LIMIT_BYTES = 64 << 20
SAMPLE = {"address": "127.0.0.1", "port": 20000}
LISTEN = re.compile(r"(?:\[([0-9a-fA-F:]+)\]|([0-9.]*)):([0-9]{1,5})\Z")
USER = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")
# What no file of settings reads otherwise.
PASSWORD = re.compile(r"[A-Za-z0-9!%&*+,./:<=>?@^_{|}~-]{1,256}\Z")
BAD_LISTEN = "listen takes ADDRESS:PORT or :PORT, with a port from 1024 to 65535"

CASES = (
    {
        "contents": b"listen=127.0.0.1:@port+3000@\nflags=--redis-only-metrics\n",
        "message": "redis_exporter on 127.0.0.1:9379 says redis_up 1",
        "removed": "the exporter is removed",
        "server": "redis",
    },
    {
        "contents": b"listen=:9104\nflags=--no-collect.slave_status --collect.info_schema.processlist\n",
        "message": "mysqld_exporter on :9104 says mysql_up 1",
        "removed": "the exporter is removed",
        "server": "mysql",
    },
    {
        "contents": b"datastore=postgresql\nlisten=0.0.0.0:9187\nflags=\"--constantLabels=site=one $HOME,of='%n'\"\n",
        "message": "postgres_exporter on 0.0.0.0:9187 says pg_up 1",
        "removed": "the exporter is removed",
        "server": "postgresql",
    },
    {"contents": b"flags=\n", "refused": "'listen' not found in contents file"},
    {"contents": b"listen\n", "refused": "line 1 has no '='"},
    {
        "contents": b"listen=:9121\nport=1\n",
        "refused": "there is an unknown key; the known ones are listen, flags, user, password_file, datastore",
    },
    {"contents": b"listen=db-1:9121\n", "refused": BAD_LISTEN},
    {"contents": b"listen=:80\n", "refused": BAD_LISTEN},
    {"contents": b"listen=:@prot+1@\n", "refused": "line 1: an expression has a name that is none of address, port"},
    {"contents": b"listen=:9121\nflags=--script=/x\n", "refused": "no exporter takes the flag 1 from a module"},
    {"contents": b"listen=:9121\nflags=--debug x\n", "refused": "no exporter takes the flag 1 from a module"},
    {
        "contents": b"datastore=mysql\nlisten=:9104\nflags=--log.level=info --is-cluster\n",
        "refused": "mysqld_exporter does not take the flag 2 from a module",
    },
    {"contents": b"listen=:9121\nflags='--is-cluster\n", "refused": "flags has a quotation mark without its second"},
    {"contents": b"listen=:9121\nuser=me\n", "refused": "user and password_file go together"},
    {
        "contents": b"listen=:9121\nuser=dbmod_exporter\npassword_file=/etc/p\n",
        "refused": "user takes 1 to 32 letters of ASCII, digits, _, . and -, and is not dbmod_exporter",
    },
    {"contents": b"listen=:9121\nuser=me\npassword_file=p\n", "refused": "password_file must be an absolute path"},
    {"contents": b"listen=:9121\ndatastore=oracle\n", "refused": "the datastores are mysql, postgresql, redis"},
)


class Wanted(NamedTuple):
    """What the contents say; datastore, user and password_file are empty where they say nothing.

    address   to listen on; empty: every one
    listen    both, as the exporters take them
    """

    address: str
    port: int
    listen: str
    flags: Tuple[str, ...]
    user: str
    password_file: str
    datastore: str


class Before(NamedTuple):
    """The unit's text and what was kept, as they were; None where there was none."""

    unit: Optional[bytes]
    kept: Optional[bytes]


class Service(NamedTuple):
    """The exporter of one server on one host: what it is to be."""

    exporter: exporters.Exporter
    server: Any
    wanted: Wanted
    host: kit.Host

    @property
    def message(self):
        return "%s on %s says %s 1" % (self.exporter.name, self.wanted.listen, self.exporter.up)

    @property
    def place(self):
        """Give address and port of the server."""
        return self.host.address or "127.0.0.1", self.host.port or self.server.PORT


def validate(contents):
    """Raise kit.Refused for what no exporter could take, as far as that is seen without a host."""
    wanted_of(contents, SAMPLE)


def apply(contents, host):
    service = service_of(contents, host)
    before = Before(host.read_file(unit_file(host)), host.kept())
    if before.unit is not None and not exporters.is_of_module(before.unit, host.module):
        raise kit.Refused("another module has the exporter of this server: remove that one first")
    login = login_of(service)
    if login and not host.unfinished and not difference(service, login):
        return kit.Outcome(False, service.message)
    if host.check:
        return kit.Outcome(True, "%s would be started on %s" % (service.exporter.name, service.wanted.listen))
    with host.alone(host.patience_seconds()):  # two with one place to listen would take each other's answers for theirs
        make(service, login, before)
    return kit.Outcome(True, service.message)


def remove(contents, host):
    if host.kept() is None and not has_unit(host):
        return kit.Outcome(False, "there is no exporter of this module")
    if not host.check:
        clear(host)
    return kit.Outcome(True, "the exporter is removed")


def query(host):
    """Say what is missing of what apply left, or what the exporter lacks; empty if all is well."""
    login = exporters.decoded(host.kept())
    return difference(service_of(host.held, host), login) if login else "the exporter's login is gone"


def service_of(contents, host):
    wanted = wanted_of(contents, {"address": host.address, "port": host.port})
    if host.datastore and wanted.datastore not in ("", host.datastore):
        raise kit.Refused("the contents are for %s, and this is %s" % (wanted.datastore, host.datastore))
    datastore = host.datastore or wanted.datastore
    if not datastore:
        raise kit.Refused("it is not known which server this is: a line 'datastore=' has to say it")
    exporters.check_flags(wanted.flags, datastore)
    return Service(exporters.EXPORTERS[datastore], SERVERS[datastore], wanted, host)


def wanted_of(contents, known):
    kit.key_value(contents)  # refuses what is not text
    values = kit.key_value(expressions.render(contents.decode("utf-8-sig"), known).encode("utf-8"))
    if "listen" not in values:
        raise kit.Refused("'listen' not found in contents file")
    if not set(values) <= set(KEYS):
        raise kit.Refused("there is an unknown key; the known ones are %s" % ", ".join(KEYS))
    datastore = values.get("datastore", "")
    if datastore not in ("", *SERVERS):
        raise kit.Refused("the datastores are %s" % ", ".join(SERVERS))
    try:
        flags = tuple(shlex.split(values.get("flags", "")))
    except ValueError:
        raise kit.Refused("flags has a quotation mark without its second") from None
    exporters.check_flags(flags, datastore)
    address, port = listen_of(values["listen"])
    user, file = values.get("user", ""), values.get("password_file", "")
    check_account(user, file)
    return Wanted(address, port, values["listen"], flags, user, file, datastore)


def listen_of(text):
    found = LISTEN.match(text)
    try:
        if found is None or not 1024 <= int(found.group(3)) <= 65535:
            raise ValueError
        address = found.group(1) or found.group(2)
        return (str(ipaddress.ip_address(address)) if address else ""), int(found.group(3))
    except ValueError:
        raise kit.Refused(BAD_LISTEN) from None


def check_account(user, file):
    if bool(user) != bool(file):
        raise kit.Refused("user and password_file go together")
    if user and (not USER.match(user) or user == ACCOUNT):
        raise kit.Refused("user takes 1 to 32 letters of ASCII, digits, _, . and -, and is not %s" % ACCOUNT)
    if file and not file.startswith("/"):
        raise kit.Refused("password_file must be an absolute path")


def make(service, login, before):
    """Install what is missing, make the account, start the exporter; what was there comes back if that goes wrong."""
    exporter, host = service.exporter, service.host
    program = packages.installed(exporter.programs, host, apt=exporter.package, dnf=exporter.name)
    if not service.wanted.user:
        login = with_account(service, login)
    old = exporters.decoded(before.kept)
    try:
        start(service, login, program)
        if old is not None and is_left_behind(old, login):
            drop_account(old, host)
    except kit.Refused as refusal:
        raise kit.Refused("%s; %s" % (refusal, taken_back(before, login, host))) from None


def login_of(service):
    """Give the user's own login, or the one that the last apply made; None where it made none for this server."""
    wanted, datastore = service.wanted, service.server.NAME
    if wanted.user:
        return exporters.Login(datastore, wanted.user, password_of(wanted.password_file, service.host), *service.place)
    kept = exporters.decoded(service.host.kept())
    is_ours = kept is not None and kept.user in (ACCOUNT, "")
    return kept if is_ours and (kept.datastore, kept.address, kept.port) == (datastore, *service.place) else None


def password_of(path, host):
    """Read the password of an account that is not ours; the reason of a refusal never quotes it."""
    data = host.read_file(path)
    if data is None:
        raise kit.Refused("password_file is not there")
    if kit.files.mode_of(host.path(path)) & 0o077:
        raise kit.Refused("password_file is not its owner's alone: chmod 600 it")
    password = data.decode("utf-8", "replace").rstrip("\r\n")
    if not PASSWORD.match(password):
        raise kit.Refused("password_file must hold one line, of letters of ASCII, digits and !%&*+,./:<=>?@^_{|}~-")
    return password


def with_account(service, old):
    """Make sure that the server has an account for the exporter, with the password it had; give its login."""
    password = old.password if old and old.user else secrets.token_hex(24)
    try:
        with connected(service.server, service.host) as link:
            login = link.let_monitor(ACCOUNT, password, service.place[0])
            require_plain(login[1])
    except kit.Refused as refusal:
        raise kit.Refused("no account was made: %s; user and password_file may name yours" % refusal) from None
    return exporters.Login(service.server.NAME, *login, *service.place)


def require_plain(password):
    """Refuse a password of the server's own that the exporter would read otherwise; without one it logs in so."""
    if password and not PASSWORD.match(password):
        raise kit.Refused("the server's own password has signs that an exporter's file cannot hold")


def is_left_behind(login, other):
    """Tell whether going over to another login leaves an account that dbmod made; MySQL has one for each address."""
    is_elsewhere = login.datastore == mysql.NAME and login.address != other.address
    return login.user == ACCOUNT and (other.user != ACCOUNT or is_elsewhere)


def drop_account(login, host):
    with connected(SERVERS[login.datastore], host) as link:
        link.drop_account(login.user, login.address)


@contextlib.contextmanager
def connected(server, host):
    """Log in to the server as its administrator."""
    link = server.connect(host, dropin.main_of(server, host))
    if link is None:
        raise kit.Refused("%s does not answer" % server.TITLE)
    with contextlib.closing(link):
        yield link


def unit_of(host):
    return "dbmod-exporter-%s.service" % host.instance


def unit_file(host):
    return "/etc/systemd/system/" + unit_of(host)


def has_unit(host):
    text = host.read_file(unit_file(host))
    return text is not None and exporters.is_of_module(text, host.module)


def unit_text(service, login, program):
    words = ["--web.listen-address=" + service.wanted.listen, *service.wanted.flags]
    words += service.exporter.limits if login.user == ACCOUNT else ()
    return exporters.unit(service.exporter, service.host, words, program=program)


def difference(service, login):
    """Say how what is there differs from what it is to be, with this login; empty if it does not."""
    host = service.host
    unit, program = host.read_file(unit_file(host)), packages.found(service.exporter.programs)
    if unit is None or program is None:
        return "the exporter's %s is gone" % ("unit" if unit is None else "program")
    if unit != unit_text(service, login, program) or host.kept() != exporters.encoded(login):
        return "the exporter's settings are not what was applied"
    return trouble(service)


def start(service, login, program):
    """Start the exporter, or start it anew; raise kit.Refused unless a scrape says that it reaches the server."""
    host = service.host
    host.keep(exporters.encoded(login))
    host.command(["systemctl", "--quiet", "stop", unit_of(host)])  # of its place, so that only others are in it
    require_free(service.wanted)
    run_unit(unit_text(service, login, program), host)
    deadline = time.monotonic() + HEALTH_SECONDS
    reason = trouble(service)
    while reason and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        reason = trouble(service)
    if reason:
        raise kit.Refused(reason)


def run_unit(text, host):
    host.write_file(unit_file(host), text, mode=0o644)
    systemctl(host, "daemon-reload")
    systemctl(host, "enable", unit_of(host))
    systemctl(host, "restart", unit_of(host))


def require_free(wanted):
    """Refuse a place where something listens already: its answers would be taken for the exporter's."""
    family = socket.AF_INET6 if ":" in wanted.address else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((wanted.address, wanted.port))
        except OSError as error:
            raise kit.Refused("it cannot listen on %s (%s)" % (wanted.listen, error.strerror)) from None


def trouble(service):
    """Scrape once; say what is wrong, empty if nothing is."""
    unit, up = unit_of(service.host), service.exporter.up
    if service.host.command(["systemctl", "--quiet", "is-active", unit], changes=False).code != 0:
        return "the exporter does not run, journalctl -u %s tells why" % unit
    try:
        said = scrape(service.wanted)
    except (OSError, http.client.HTTPException):
        return "the exporter does not answer on %s" % service.wanted.listen
    found = re.search(r"^%s(?:\{.*\})? (\S+)$" % up, said, re.MULTILINE)
    value = found.group(1) if found else "nothing"
    return "" if value == "1" else "the exporter does not reach the server: %s is %s" % (up, value)


def scrape(wanted):
    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(wanted.address, wanted.address)  # noqa: S104
    with contextlib.closing(http.client.HTTPConnection(address, wanted.port, timeout=SCRAPE_SECONDS)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read(SCRAPE_LIMIT_BYTES).decode("utf-8", "replace")


def taken_back(before, login, host):
    """Put back what was there before, the account too; say how that went."""
    old = exporters.decoded(before.kept)
    try:
        if before.unit is None or old is None:
            clear(host)
            return "nothing of it is left"
        host.keep(before.kept)
        run_unit(before.unit, host)
        if is_left_behind(login, old):
            drop_account(login, host)
    except kit.Refused as refusal:
        return "what was there before could not be put back (%s)" % refusal
    return "the exporter of before is back"


def clear(host):
    """Take away the unit, then the account; what is kept goes last, so that a second try knows what there is to do."""
    if has_unit(host):
        systemctl(host, "disable", "--now", unit_of(host))
        host.remove_file(unit_file(host))
        systemctl(host, "daemon-reload")
    login = exporters.decoded(host.kept())
    if login is not None and login.user == ACCOUNT:
        drop_account(login, host)
    host.keep(None)


def systemctl(host, *words):
    ended = host.command(["systemctl", "--quiet", *words])
    if ended.code != 0:
        raise kit.Refused("systemctl %s ended with code %d" % (" ".join(words), ended.code))


if __name__ == "__main__":
    kit.main(validate, apply, remove, query)
