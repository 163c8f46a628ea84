# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings of MariaDB and MySQL: read, checked by the server's own program, set at run time through its client."""

import os
import re
import shutil
import tempfile
from typing import Dict, List, Optional, Tuple

from . import dbmod_kit as kit

Values = Dict[str, str]

NAME = "mysql"
TITLE = "MariaDB or MySQL"
EXACT = False  # the server rounds; what it made of a value is known only afterwards
YIELDS = True  # what SET PERSIST keeps, somebody wanted to outlive the next restart
MAIN = "my.cnf"
USUAL = ("/etc/mysql/my.cnf", "/etc/my.cnf")  # of Debian and Red Hat
ENDING = ".cnf"
PORT = 3306
DOWN_SECONDS = 60  # without any answer after a restart; while it repairs its data it does not answer
PREFIXES = ("loose_", "global_")
SECTION = re.compile(r"\[(?:mysqld|server|mariadb|mariadbd)(?:-[0-9.]+)?\]\Z")
ADJUSTED = re.compile(r"option '([^']+)': (?:.* adjusted to |boolean value .* recognized)")
# MySQL says neither what it adjusts, nor what a file makes of a setting, while SET PERSIST has another value for it.
MYSQL_ALONE = ("--log-error-verbosity=2", "--loose-persisted-globals-load=OFF")
WORD = re.compile(r"[a-z][a-z0-9_]*\Z")
RESERVED = frozenset(
    [
        "admin_address",
        "admin_port",
        "basedir",
        "bind_address",
        "chroot",
        "datadir",
        "init_file",
        "mysqlx_bind_address",
        "mysqlx_port",
        "mysqlx_socket",
        "pid_file",
        "plugin_dir",
        "port",
        "skip_grant_tables",
        "skip_networking",
        "socket",
        "user",
        "wsrep_cluster_address",
        "wsrep_node_address",
        "wsrep_on",
        "wsrep_provider",
        "wsrep_sst_auth",
    ]
)
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?\Z")
FAILED = re.compile(r"^ERROR \d+ \(\w+\) at line (\d+)", re.MULTILINE)
ERROR = re.compile(r"ERROR \d+ \(\w+\)")
AWAY = re.compile(r"ERROR (?:2002|2003|2006|2013) ")
BUSY = re.compile(r"ERROR (?:1040|1053|1203) ")  # too many connections; it is going down
# What its collectors of every server read; into no table but the server's own. Neither replicas nor logs learn of it.
MONITOR = """SET SESSION sql_log_bin = 0, sql_log_off = 1;
CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}';
ALTER USER {account} IDENTIFIED BY '{password}' WITH MAX_USER_CONNECTIONS 5;
GRANT PROCESS, REPLICATION CLIENT /*M!100509 , SLAVE MONITOR */ ON *.* TO {account};
GRANT SELECT ON performance_schema.* TO {account};
"""


def settings(text: str) -> Values:
    """Read the lines of a my.cnf; names are written with `_`, as the server's variables are."""
    found: Values = {}
    has_section = False
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith(("#", ";")):
            continue
        if line.startswith("["):
            if not SECTION.match(line):
                raise kit.Refused("line %d: not a section of the server, as [mysqld] is" % number)
            has_section = True
            continue
        name, _, value = line.partition("=")
        name = _variable(name)
        if not has_section or not WORD.match(name):
            raise kit.Refused("line %d: not a name and its value in a section [mysqld]" % number)
        if name in RESERVED:
            raise kit.Refused("line %d: %s belongs to the instance, not to a module" % (number, name))
        found[name] = value.partition(" #")[0].strip().strip("'\"")
    if not found:
        raise kit.Refused("the contents hold no setting")
    return found


def _variable(name: str) -> str:
    name = name.strip().lower().replace("-", "_")
    for prefix in PREFIXES:
        name = name[len(prefix) :] if name.startswith(prefix) else name
    return name


def include_line(directory: str) -> str:
    return "!includedir %s" % directory


def includes(main: str, directory: str) -> bool:
    """Tell whether the server's own configuration reads what lies in a directory."""
    return any(line.strip() == include_line(directory) for line in main.split("\n"))


def arrange(host: kit.Host, directory: str, like: str, present: List[str]) -> bool:
    """Nothing to do: the server reads every file of the directory."""
    del host, directory, like, present
    return False


def check(host: kit.Host, text: str, main_file: str, link: "Optional[Link]") -> Values:
    """Let the server's program read its configuration with the text; give what it makes of the settings.

    MariaDB's --validate-config would initialise files of InnoDB in the data directory, so it is never used.
    Raises  Refused with the program's reason
    """
    del link
    wanted = settings(text)
    program = _found("mariadbd", "mysqld")
    with tempfile.TemporaryDirectory(prefix="dbmod-mysql-") as folder:
        candidate, told = folder + "/my.cnf", folder + "/told"
        with open(candidate, "w", encoding="utf-8") as file:
            file.write("!include %s\n%s\n" % (host.path(main_file), text))
        words = ["--defaults-file=" + candidate]
        if os.path.basename(program) == "mysqld" and "MariaDB" not in _said(host, [program, "--version"]):
            _said(host, [program, *words, "--validate-config"], wanted)
            words += [word for word in MYSQL_ALONE if _variable(word.partition("=")[0].lstrip("-")) not in wanted]
        # The table that is wanted comes after 100 KiB of help, so it goes to a file.
        to_file = ["sh", "-c", 'told=$1; shift; exec "$0" "$@" --help --verbose > "$told"', program, told]
        _refuse_adjusted(_said(host, to_file + words, wanted), wanted)
        with open(told, encoding="utf-8", errors="replace") as file:
            known = _table(file.read())
    return {name: known[name] for name in wanted if name in known}


def _refuse_adjusted(output: str, wanted: Values) -> None:
    """Refuse a value that the server would take for another one, as it does with what is no number."""
    for name in map(_variable, ADJUSTED.findall(output)):
        if name in wanted:
            raise kit.Refused("%s would take another value for %s than it is given" % (TITLE, name))


def _said(host: kit.Host, words: List[str], wanted: Optional[Values] = None) -> str:
    ended = host.command(words, changes=False)
    output = ended.output + ended.errors
    if ended.code == 0:
        return output
    lines = [line for line in output.splitlines() if "ERROR" in line] or output.splitlines() or ["?"]
    raise kit.Refused("%s refuses it: %s" % (TITLE, _without_values(lines[0], wanted or {})))


def _without_values(line: str, wanted: Values) -> str:
    """Leave of what a message quotes the names of settings alone."""

    def shown(found: "re.Match[str]") -> str:
        name = _variable(found.group(1).partition("=")[0].lstrip("-"))
        return "'%s'" % name if name in wanted else "'…'"

    return re.sub(r"'([^']*)'", shown, line.partition("[ERROR] ")[2] or line)


def _table(text: str) -> Values:
    """Read the table of variables at the end of the help, as SHOW GLOBAL VARIABLES writes them."""
    known: Values = {}
    for line in text.partition("\nVariables (")[2].split("\n")[3:]:
        name, _, value = line.partition(" ")
        value = value.strip()
        known[_variable(name)] = {"TRUE": "ON", "FALSE": "OFF", "(No default value)": ""}.get(value, value)
    return known


def connect(host: kit.Host, main: str) -> "Optional[Link]":
    """Log in to the server; None where nothing answers.

    Raises  Refused where it lets nobody in; Busy while it is up and takes nobody
    """
    del main
    is_own = host.read_file("etc/" + MAIN) is not None
    words = [_found("mariadb", "mysql")] + (["--defaults-file=" + host.path("etc/" + MAIN)] if is_own else [])
    link = Link(host, [*words, "--batch", "--skip-column-names", "--connect-timeout=10"])
    ended = link.ask("SELECT @@GLOBAL.port;")
    if ended.code == 0:
        port = ended.output.strip()  # 0 without a network
        if host.port and port not in ("0", str(host.port)):  # the usual socket of a host may be another one's
            raise kit.Refused("the socket leads to the server on port %s, not %d" % (port, host.port))
        return link
    if AWAY.search(ended.errors):
        return None
    if BUSY.search(ended.errors):
        raise kit.Busy("%s takes no connection now" % TITLE)
    raise kit.Refused("%s does not let us in by its socket (the client ended with code %d)" % (TITLE, ended.code))


class Link:
    """The way to a server: its client."""

    def __init__(self, host: kit.Host, words: List[str]) -> None:
        self.host = host
        self.words = words

    def close(self) -> None:
        """Nothing stays open between two questions."""

    def ask(self, statements: str, *options: str) -> kit.Completed:
        return self.host.command([*self.words, *options], changes=False, data=statements.encode("utf-8"))

    def values(self, names: List[str]) -> Values:
        """Give what the server has now of these variables."""
        if not names:
            return {}
        quoted = ", ".join("'%s'" % name for name in names)
        ended = self.ask("SHOW GLOBAL VARIABLES WHERE variable_name IN (%s);\n" % quoted)
        if ended.code != 0:
            raise kit.Refused("%s does not tell its variables (the client ended with code %d)" % (TITLE, ended.code))
        pairs = [line.partition("\t") for line in ended.output.split("\n") if "\t" in line]
        return {name: value for name, _, value in pairs}

    def make_live(self, wanted: Values) -> List[str]:
        """Set values at run time; give the names that need a restart."""
        names = sorted(name for name, value in wanted.items() if "'" not in value and "\\" not in value)
        lines = ["SET GLOBAL %s = %s;" % (name, _literal(wanted[name])) for name in names]
        ended = self.ask("\n".join(lines) + "\n", "--force") if lines else kit.Completed(0, "")  # each for itself
        refused = {names[int(number) - 1] for number in FAILED.findall(ended.errors)}
        if ended.code != 0 and not refused:
            raise kit.Refused("%s does not take the settings (the client ended with code %d)" % (TITLE, ended.code))
        return sorted(refused | (set(wanted) - set(names)))

    def started(self) -> str:
        """Name this start of the server: its process."""
        path = self.ask("SELECT @@GLOBAL.pid_file;\n").output.strip()
        return (self.host.read_file(path) or b"").decode("ascii", "replace").strip()

    def let_monitor(self, name: str, password: str, address: str) -> Tuple[str, str]:
        """Make an account that sees how the server does, and log in from *address* alone; give name and password."""
        self._change(MONITOR.format(account="'%s'@'%s'" % (name, address), password=password))
        return name, password

    def drop_account(self, name: str, address: str) -> None:
        self._change("SET SESSION sql_log_bin = 0;\nDROP USER IF EXISTS '%s'@'%s';\n" % (name, address))

    def _change(self, statements: str) -> None:
        ended = self.ask(statements)
        if ended.code != 0:
            found = ERROR.search(ended.errors)  # the rest may quote a statement, with the password
            reason = found.group() if found else "code %d" % ended.code
            raise kit.Refused("%s refuses the account: %s" % (TITLE, reason))


def _literal(value: str) -> str:
    return value if NUMBER.match(value) else "'%s'" % value


def _found(*names: str) -> str:
    for name in names:
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":" + kit.PATHS)
        if found:
            return found
    raise kit.Refused("neither %s is installed here" % " nor ".join(names))
