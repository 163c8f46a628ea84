#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module type whose contents are SQL statements, which run once."""

DOCUMENTATION = r"""
---
module: dbmod_sql
short_description: Run SQL statements once
version_added: "0.1.0"
description:
  - Runs the statements of the contents once per version on MySQL, MariaDB or PostgreSQL, as the server's administrator,
    through the server's own client.
  - What ran is recorded in the database itself, in the table C(dbmod.dbmod_applied), so a second run does nothing, even
    if the host lost its files, or the statements came by replication.
  - On PostgreSQL the statements and the record are one transaction. On MySQL and MariaDB too, but there statements such
    as C(CREATE TABLE) commit what came before them.
  - >-
    A line C(-- dbmod: undo) begins the statements that take it back when the module is removed, a line
    C(-- dbmod: check) a query whose first row must be there and not be a single false, 0 or NULL after each apply.
  - >-
    At the top, C(-- dbmod: database NAME) says in which database, and C(-- dbmod: datastore mysql) or C(postgresql) on
    which server; a playbook without dbmod's ledger needs that one.
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
    description: Asks the database whether the statements ran, and runs none.
author:
  - The dbmod authors (@dbmod)
"""

EXAMPLES = r"""
- name: Give the shop a table of audits
  dbmod_sql:
    contents: |
      -- dbmod: datastore postgresql
      -- dbmod: database shop
      CREATE TABLE audits (id bigserial PRIMARY KEY, said text NOT NULL);
      -- dbmod: undo
      DROP TABLE audits;
      -- dbmod: check
      SELECT to_regclass('audits') IS NOT NULL;
"""

RETURN = r"""
message:
  description: What was done.
  returned: success
  type: str
  sample: the statements ran, and the check passes
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

import hashlib
import os
import pwd
import re
import shutil
from typing import NamedTuple

from ansible.module_utils import dbmod_kit as kit

DATASTORES = ("mysql", "postgresql")
DECLARES = kit.Declares(datastores=DATASTORES, admin=True)  # the clients run programs where they are told to

DIRECTIVE = re.compile(r"--[ \t]*dbmod:[ \t]*(.*?)[ \t\r]*\Z")
ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
DATABASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\Z")
# psql: `psql:<stdin>:3: ERROR:  42P01`; MariaDB and MySQL: `ERROR 1064 (42000) at line 3: …`
ERROR = re.compile(r"(?:<stdin>:(\d+): )?\b(?:ERROR|FATAL):? +([0-9A-Z]{4,5})\b(?:.*? at line (\d+))?")
AWAY = re.compile(r"ERROR (?:2002|2003|2006|2013) ")
PSQL_WITHOUT_SERVER = 2  # its exit code
TABLE = (
    "CREATE TABLE IF NOT EXISTS dbmod.dbmod_applied (module varchar(64) NOT NULL, sha256 char(64) NOT NULL,"
    " applied_at %s NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (module, sha256));"
)
IN_STEP = "/*M!100100 SET SESSION wsrep_sync_wait = 1 */;\n"  # a member of Galera first reads what the others wrote
FALSE = ("", "f", "false", "0", "NULL")
DONE = "the statements ran"
NO_UNDO = "forgotten; what the statements made stays, as they have no undo"

CASES = (
    {
        "contents": b"-- dbmod: datastore postgresql\nCREATE TABLE t (i int);\n-- dbmod: undo\nDROP TABLE t;\n",
        "message": DONE,
        "changed": True,
        "removed": "the undo ran",
        "server": "postgresql",
    },
    {
        "contents": b"-- dbmod: datastore mysql\n-- dbmod: database mysql\nSET @a = 1;\n-- dbmod: check\nSELECT 1;\n",
        "message": DONE + ", and the check passes",
        "changed": True,
        "removed": NO_UNDO,
        "server": "mysql",
    },
    {"contents": b"SELECT '\xff';\n", "refused": "the statements are not UTF-8 text (byte 8)"},
    {"contents": b"SELECT 1\0;\n", "refused": "the statements are not text (a zero byte)"},
    {"contents": b"-- dbmod: undo\nDROP TABLE t;\n", "refused": "there are no statements"},
    {"contents": b"SELECT 1;\n-- dbmod: redo\n", "refused": "line 2: dbmod knows database, datastore, undo, check"},
    {"contents": b"SELECT 1;\n-- dbmod: undo\n-- dbmod: undo\n", "refused": "line 3: there is a second undo"},
    {"contents": b"-- dbmod: database a b\nSELECT 1;\n", "refused": "line 1: that cannot be the name of a database"},
    {
        "contents": b"-- dbmod: datastore redis\nSELECT 1;\n",
        "refused": "line 1: the datastores are mysql, postgresql",
    },
)


class Statements(NamedTuple):
    """The parts of the contents, each with the others' lines empty, so that the server counts as the author does."""

    statements: str
    undo: str
    check: str
    database: str
    datastore: str
    sha256: str


class Server(NamedTuple):
    """How to talk to a server: the words of the client's command, and its environment."""

    datastore: str
    command: tuple
    environment: dict
    port: int


def validate(contents):
    """Raise kit.Refused if the parts cannot be told from each other."""
    parts_of(contents)


def apply(contents, host):
    parts = parts_of(contents)
    server = server_of(host, parts)
    if is_recorded(server, host, parts):
        return kit.Outcome(changed=False, message=DONE + checked(server, parts))
    if host.check:
        return kit.Outcome(changed=True, message="the statements would run")
    send(server, with_record(server, host, parts), "the statements")
    if not is_recorded(server, host, parts):
        raise kit.Refused("the statements did not run to their end; is a quote, a comment or a DELIMITER left open?")
    return kit.Outcome(changed=True, message=DONE + checked(server, parts))


def remove(contents, host):
    if not contents:
        return nothing_held(host)
    parts = parts_of(contents)
    server = server_of(host, parts)
    if not versions_recorded(server, host):
        return kit.Outcome(changed=False, message="the statements are not recorded as run; nothing to undo")
    if not host.check:
        send(server, without_record(server, host, parts), "the undo")
    return kit.Outcome(changed=True, message="the undo ran" if parts.undo.strip() else NO_UNDO)


def query(host):
    """Say what the database lacks; empty if nothing."""
    parts = parts_of(host.held)
    server = server_of(host, parts)
    if not is_recorded(server, host, parts):
        return "the database does not know that the statements ran"
    return "" if not parts.check.strip() or passes(server, parts) else "the check fails"


def nothing_held(host):
    """Nothing to remove, or the files are lost: then the undo is not known, and the database must not be forgotten."""
    if host.datastore not in DATASTORES:
        return kit.Outcome(changed=False, message="")
    server = server_of(host, Statements("", "", "", "", host.datastore, ""))
    if versions_recorded(server, host):
        raise kit.Refused("the statements ran, but the host lost the contents with the undo: apply the module first")
    return kit.Outcome(changed=False, message="")


def checked(server, parts):
    if not parts.check.strip():
        return ""
    if not passes(server, parts):
        raise kit.Refused("the statements ran, but the check fails")
    return ", and the check passes"


def passes(server, parts):
    """Tell whether the query's first row is there, and is not a single value that says no."""
    rows = send(server, "\n" + parts.check, "the check").splitlines()
    return bool(rows) and rows[0].strip() not in FALSE


def is_recorded(server, host, parts):
    return parts.sha256 in versions_recorded(server, host)


def versions_recorded(server, host):
    """Give the digests of the versions of this module that ran; the table itself may not be there."""
    wanted = "SELECT sha256 FROM dbmod.dbmod_applied WHERE module = '%s'" % id_of(host)  # noqa: S608
    what = "the question what ran"
    if server.datastore == "postgresql":
        there = "SELECT to_regclass('dbmod.dbmod_applied') IS NOT NULL AS is_there \\gset\n"
        return send(server, there + "\\if :is_there\n" + wanted + ";\n\\endif\n", what).split()
    there = "SELECT @@port, EXISTS (SELECT 1 FROM information_schema.tables WHERE %s);\n"
    where = "table_schema = 'dbmod' AND table_name = 'dbmod_applied'"
    port, is_there = send(server, IN_STEP + there % where, what).split()
    if server.port and int(port) != server.port:
        raise kit.Refused("the client reached the server on port %s, not %d" % (port, server.port))
    return send(server, IN_STEP + wanted + ";\n", what).split() if is_there == "1" else []


def with_record(server, host, parts):
    """Put the statements between a line that begins a transaction, and the record with its end."""
    values = (id_of(host), parts.sha256)
    record = "INSERT INTO dbmod.dbmod_applied (module, sha256) VALUES ('%s', '%s');\n" % values  # noqa: S608
    if server.datastore == "postgresql":  # the client's --single-transaction begins and ends it
        before = "SET client_min_messages = error; CREATE SCHEMA IF NOT EXISTS dbmod; " + TABLE % "timestamptz"
        return "%s\n%s\n;\n%s" % (before, parts.statements, record)
    before = "CREATE DATABASE IF NOT EXISTS dbmod; " + TABLE % "timestamp" + " START TRANSACTION;"
    return "%s\n%s\n;\n%sCOMMIT;\n" % (before, parts.statements, record)


def without_record(server, host, parts):
    record = "DELETE FROM dbmod.dbmod_applied WHERE module = '%s';\n" % id_of(host)  # noqa: S608
    if server.datastore == "postgresql":
        return "\n%s\n;\n%s" % (parts.undo, record)
    return "START TRANSACTION;\n%s\n;\n%sCOMMIT;\n" % (parts.undo, record)


def id_of(host):
    """Give the module's id, which becomes a part of statements."""
    if not ID.match(host.module):
        raise kit.Refused("the module's id is not one of dbmod's")
    return host.module


def send(server, text, what):
    """Give the client statements on its standard input; of an error only the server's code and the line are shown."""
    ended = kit.commands.run(server.command, server.environment, text.encode("utf-8"))
    if ended.code == 0:
        return ended.output
    if AWAY.search(ended.errors) or (server.datastore == "postgresql" and ended.code == PSQL_WITHOUT_SERVER):
        raise kit.Refused("%s did not run: the server does not answer, or does not let us in" % what)
    error = ERROR.search(ended.errors)
    if error is None:
        raise kit.Refused("%s did not run: the client ended with code %d" % (what, ended.code))
    line = int(error.group(1) or error.group(3) or 0) - 1  # the first one is ours
    where = " near line %d" % line if line > 0 else ""
    raise kit.Refused("%s did not run: error %s%s" % (what, error.group(2), where))


def server_of(host, parts):
    """Find the login: the files of a server that dbmod made, else the administrator's usual way in."""
    if host.datastore and parts.datastore and host.datastore != parts.datastore:
        raise kit.Refused("the statements are for %s" % parts.datastore)
    datastore = host.datastore or parts.datastore
    if datastore == "mysql":
        command, more = mysql_client(host, parts.database), {}
    elif datastore == "postgresql":
        command, more = postgresql_client(host, parts.database)
    else:
        raise kit.Refused("it is not known which server this is: a line '-- dbmod: datastore …' has to say it")
    home = os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
    environment = {"PATH": kit.PATHS, "LC_ALL": "C", "HOME": home, **more}
    return Server(datastore, command, environment, host.port)


def mysql_client(host, database):
    program = found("mariadb") or found("mysql")
    if program is None:
        raise kit.Refused("there is no client mariadb or mysql on this host")
    settings = os.path.join(host.directory, "etc", "my.cnf")
    command = [program, "--defaults-file=" + settings] if os.path.exists(settings) else [program]
    command += ["--batch", "--skip-column-names", "--default-character-set=utf8mb4"]
    return (*command, *(["--database=" + database] if database else []))


def postgresql_client(host, database):
    program = found("psql")
    if program is None:
        raise kit.Refused("there is no client psql on this host")
    options = ["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only", "--single-transaction"]
    options += ["--set=ON_ERROR_STOP=1", "--set=VERBOSITY=sqlstate", "--file=-"]
    service = os.path.join(host.directory, "etc", "client.conf")
    environment = {"PGCLIENTENCODING": "UTF8"}
    if os.path.exists(service):
        environment["PGSERVICEFILE"] = service
        login = "service=dbmod" + (" dbname=" + database if database else "")
        return (program, login, *options), environment
    login = "user=postgres dbname=%s" % (database or "postgres") + (" port=%d" % host.port if host.port else "")
    become = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--") if os.geteuid() == 0 else ()
    return (*become, program, login, *options), environment


def found(program):
    return shutil.which(program, path=kit.PATHS)


def parts_of(contents):
    """Take the contents apart at the lines for dbmod."""
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise kit.Refused("the statements are not UTF-8 text (byte %d)" % error.start) from None
    if "\0" in text:
        raise kit.Refused("the statements are not text (a zero byte)")
    lines = {"statements": [], "undo": [], "check": []}
    settings = {"database": "", "datastore": ""}
    part = "statements"
    for number, line in enumerate(text.split("\n"), 1):
        directive = DIRECTIVE.match(line)
        for name, taken in lines.items():
            taken.append(line if name == part and directive is None else "")
        if directive is None:
            continue
        name, __, value = directive.group(1).partition(" ")
        if name in settings and part == "statements":
            settings[name] = setting_of(name, value.strip(), number)
        elif name in ("undo", "check") and not value:
            if name == part or any(lines[name]):
                raise kit.Refused("line %d: there is a second %s" % (number, name))
            part = name
        else:
            raise kit.Refused("line %d: dbmod knows database, datastore, undo, check" % number)
    if not any(line.strip() for line in lines["statements"]):
        raise kit.Refused("there are no statements")
    texts = {name: "\n".join(taken) for name, taken in lines.items()}
    return Statements(sha256=hashlib.sha256(contents).hexdigest(), **texts, **settings)


def setting_of(name, value, number):
    if name == "datastore" and value not in DATASTORES:
        raise kit.Refused("line %d: the datastores are %s" % (number, ", ".join(DATASTORES)))
    if name == "database" and not DATABASE.match(value):
        raise kit.Refused("line %d: that cannot be the name of a database" % number)
    return value


if __name__ == "__main__":
    kit.main(validate, apply, remove, query)
