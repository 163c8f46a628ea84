# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings of PostgreSQL: read, checked by the server's own program, made live by a reload."""

import base64
import glob
import hashlib
import hmac
import os
import re
import shutil
import tempfile
import time
from typing import Dict, List, Optional, Tuple

from . import dbmod_kit as kit

Values = Dict[str, str]

NAME = "postgresql"
TITLE = "PostgreSQL"
EXACT = True  # the program tells what it makes of a value
YIELDS = True  # what ALTER SYSTEM keeps cannot be changed by a reload
MAIN = "postgresql.conf"
USUAL = ("/etc/postgresql/*/*/postgresql.conf", "/var/lib/pgsql/data/postgresql.conf")  # of Debian and Red Hat
ENDING = ".conf"
PORT = 5432
DOWN_SECONDS = 60  # without any answer after a restart
RELOAD_SECONDS = 5
SCRAM_ITERATIONS = 4096  # the server's own
MONITOR = """DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}')
THEN CREATE ROLE "{name}"; END IF; END $do$;
ALTER ROLE "{name}" LOGIN CONNECTION LIMIT 5 PASSWORD '{verifier}';
GRANT pg_monitor TO "{name}";
"""
PROGRAMS = "/usr/lib/postgresql/*/bin:/usr/pgsql-*/bin"
LINE = re.compile(r"([A-Za-z_][\w.]*)\s*=\s*(.*)\Z")
QUOTED = re.compile(r'"([^"]*)"')
LOADING = ("session_preload_libraries", "local_preload_libraries", "dynamic_library_path")  # at every login
RESERVED = frozenset(
    [
        "config_file",
        "data_directory",
        "external_pid_file",
        "hba_file",
        "ident_file",
        "include",
        "include_dir",
        "include_if_exists",
        "listen_addresses",
        "port",
        "primary_conninfo",
        "ssl_passphrase_command",
        "unix_socket_directories",
        "unix_socket_group",
        "unix_socket_permissions",
    ]
)


def settings(text: str) -> Values:
    """Read the lines of a postgresql.conf."""
    found: Values = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        matched = LINE.match(line)
        if not matched:
            raise kit.Refused("line %d: not a name, an equals sign and a value" % number)
        name = matched.group(1).lower()
        if name in RESERVED:
            raise kit.Refused("line %d: %s belongs to the instance, not to a module" % (number, name))
        found[name] = matched.group(2)
    return found


def include_line(directory: str) -> str:
    return "include_dir '%s'" % directory.replace("'", "''")


def includes(main: str, directory: str) -> bool:
    """Tell whether the server's own configuration reads what lies in a directory."""
    wanted = include_line(directory)
    return any(line.strip().replace(" = ", " ") == wanted for line in main.split("\n"))


def arrange(host: kit.Host, directory: str, like: str, present: List[str]) -> bool:
    """Nothing to do: the server reads every file of the directory."""
    del host, directory, like, present
    return False


def check(host: kit.Host, text: str, main_file: str, link: "Optional[Link]") -> Values:
    """Let the server's program read its configuration with the text; give what it makes of the settings.

    Asked before the file is in its place: pg_file_settings shows only what lies there already, where any reload would
    find it too.
    Raises  Refused with the program's reason
    """
    wanted = settings(text)
    main = host.path(main_file)
    data = _data(host, main_file)
    folder = tempfile.mkdtemp(prefix="dbmod-postgresql-", dir=kit.TEMPORARY)
    try:
        candidate, alone = folder + "/postgresql.conf", folder + "/alone.conf"
        with open(candidate, "w", encoding="utf-8") as file:
            file.write("%s\n%s\n" % (include_line(main).replace("include_dir", "include", 1), text))
        with open(alone, "w", encoding="utf-8") as file:  # what ALTER SYSTEM keeps in the data directory is none of it
            file.write("include '%s'\ndata_directory = '%s'\n" % (candidate, folder))
        words = [_program(link), "-D", data]
        if os.geteuid() == 0:
            owner = os.stat(data)
            for path in (folder, candidate, alone):
                os.chown(path, owner.st_uid, owner.st_gid)
            words = _as_user(owner.st_uid, owner.st_gid) + words
        _said(host, [*words, "--config-file=" + candidate, "-C", "port"], wanted)
        words += ["--config-file=" + alone, "-C"]
        values = {name: _said(host, [*words, name], wanted) for name in wanted if "." not in name}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if link is not None:
        link.try_login({name: values[name] for name in LOADING if name in values})
    return values


def _as_user(uid: int, gid: int) -> List[str]:
    return ["setpriv", "--reuid=%d" % uid, "--regid=%d" % gid, "--clear-groups", "--"]


def _data(host: kit.Host, main_file: str) -> str:
    main = (host.read_file(main_file) or b"").decode("utf-8", "replace")
    found = re.search(r"^\s*data_directory\s*=\s*'((?:[^']|'')*)'", main, re.MULTILINE)
    return found.group(1).replace("''", "'") if found else os.path.dirname(host.path(main_file))


def _said(host: kit.Host, words: List[str], wanted: Values) -> str:
    ended = host.command(words, changes=False)
    if ended.code == 0:
        return ended.output.strip()
    lines = [line.strip() for line in ended.errors.splitlines() if line.strip()]
    said = next((line for line in lines if "contains errors" not in line), "code %d" % ended.code)
    said = QUOTED.sub(lambda one: one.group(0) if one.group(1).lower() in wanted else '"…"', said)
    raise kit.Refused("PostgreSQL refuses it: %s" % re.sub(r"^.*?(?:LOG|FATAL|ERROR): +", "", said))


def _program(link: "Optional[Link]") -> str:
    """Find the program that is the running server's, else the newest."""
    said = link.answer("SELECT setting FROM pg_config WHERE name = 'BINDIR';") if link is not None else ""
    places = [said] + [one for pattern in PROGRAMS.split(":") for one in sorted(glob.glob(pattern), reverse=True)]
    path = ":".join(place for place in places if place.startswith("/"))
    found = shutil.which("postgres", path="%s:%s:%s" % (path, os.environ.get("PATH", ""), kit.PATHS))
    if not found:
        raise kit.Refused("the program postgres is not installed here to check the settings with")
    return found


def connect(host: kit.Host, main: str) -> "Optional[Link]":
    """Log in to the server; None where nothing answers.

    Raises  Refused where it lets nobody in; Busy while it starts
    """
    del main
    service = host.path("etc/client.conf")
    options = ["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only", "--field-separator=\t"]
    options.append("--set=ON_ERROR_STOP=1")
    if os.path.isfile(service):
        words = ["env", "PGSERVICEFILE=" + service, "psql", "service=dbmod", *options]
    else:
        words = ["runuser", "-u", "postgres", "--", "psql", "-d", "postgres", "-p", str(host.port or PORT), *options]
    link = Link(host, words)
    ended = link.ask("SELECT 1;")
    if ended.code == 0:
        return link
    said = ended.errors
    if "starting up" in said or "shutting down" in said or "too many" in said or "recovery" in said:
        raise kit.Busy("PostgreSQL takes no connection now")
    if "FATAL" not in said and ("Connection refused" in said or "No such file or directory" in said):
        return None
    raise kit.Refused("PostgreSQL does not let us in by its socket (psql ended with code %d)" % ended.code)


class Link:
    """The way to a server: psql."""

    def __init__(self, host: kit.Host, words: List[str]) -> None:
        self.host = host
        self.words = words

    def close(self) -> None:
        """Nothing stays open between two questions."""

    def ask(self, statements: str) -> kit.Completed:
        return self.host.command(self.words, changes=False, data=statements.encode("utf-8"))

    def answer(self, statement: str) -> str:
        """Give the one value that a statement asks for; "" where it fails."""
        return self.ask(statement).output.strip()

    def try_login(self, wanted: Values) -> None:
        """Refuse a library that cannot be loaded: it would end every login, and ours, from the reload on."""
        said = " ".join("-c " + re.sub(r"([\\\s])", r"\\\1", "%s=%s" % one) for one in sorted(wanted.items()))
        if wanted and self.host.command(["env", "PGOPTIONS=" + said, *self.words], changes=False).code != 0:
            raise kit.Refused("PostgreSQL lets nobody log in with these %s" % ", ".join(sorted(wanted)))

    def _rows(self, statement: str) -> List[List[str]]:
        ended = self.ask(statement)
        if ended.code != 0:
            raise kit.Refused("PostgreSQL does not tell its settings (psql ended with code %d)" % ended.code)
        return [line.split("\t") for line in ended.output.split("\n") if "\t" in line]

    def _known(self, names: List[str]) -> List[List[str]]:
        if not names:
            return []
        quoted = ", ".join("'%s'" % name for name in names)
        return self._rows("SELECT name, context, setting FROM pg_settings WHERE lower(name) IN (%s);" % quoted)  # noqa: S608

    def values(self, names: List[str]) -> Values:
        """Give what the server has now of these settings."""
        return {row[0].lower(): row[2] for row in self._known(names)}

    def make_live(self, wanted: Values) -> List[str]:
        """Reload, and wait until the settings are there; give the names that need a restart."""
        known = self._known(sorted(wanted))
        restart = {row[0].lower() for row in known if row[1] in ("postmaster", "internal")}
        expected = {name: value for name, value in wanted.items() if name not in restart}
        self.ask("SELECT pg_reload_conf();")
        deadline = time.monotonic() + RELOAD_SECONDS
        while self.values(sorted(expected)) != expected and time.monotonic() < deadline:
            time.sleep(0.05)
        return sorted(restart)

    def started(self) -> str:
        """Name this start of the server."""
        return self.answer("SELECT pg_postmaster_start_time();")

    def let_monitor(self, name: str, password: str, address: str) -> Tuple[str, str]:
        """Make an account that sees how the server does, and no data; give its name and password."""
        del address  # which addresses may log in, says pg_hba.conf
        if self.answer("SELECT pg_is_in_recovery();") == "t":
            raise kit.Refused("PostgreSQL is a standby here, which has the accounts of its primary")
        self._change(MONITOR.format(name=name, verifier=_verifier(password)))
        return name, password

    def drop_account(self, name: str, address: str) -> None:
        del address
        self._change('DROP ROLE IF EXISTS "%s";' % name)

    def _change(self, statements: str) -> None:
        code = self.ask(statements).code
        if code != 0:
            raise kit.Refused("PostgreSQL refuses the account (psql ended with code %d)" % code)


def _verifier(password: str) -> str:
    """Give what the server keeps of a password (RFC 5803), so that no log of statements ever holds the password."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ITERATIONS)
    client, server = (hmac.new(salted, key, hashlib.sha256).digest() for key in (b"Client Key", b"Server Key"))
    parts = [base64.b64encode(part).decode("ascii") for part in (salt, hashlib.sha256(client).digest(), server)]
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (SCRAM_ITERATIONS, parts[0], parts[1], parts[2])
