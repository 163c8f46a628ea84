# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a module type sees: Refused, Outcome, Declares, Host, key_value, main."""

import contextlib
import os
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import dbmod_command as commands
from . import dbmod_files as files

MESSAGE_LIMIT = 255  # characters of a message; the width of the registry's own texts
PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # an SSH session's PATH often lacks sbin
LIMIT_SECONDS = 300  # of a type's function, where nobody says another one
TEMPORARY = "/tmp"  # noqa: S108  (other users get in; TMPDIR may be root's alone, as libpam-tmpdir makes it)
TEST_ROOT = "DBMOD_TEST_ROOT"  # a scratch root for tests of types of host scope; absent anywhere else


class Refused(Exception):
    """A type says no; its text is shown to the user, so it never holds contents."""


class Busy(Refused):
    """The server is up, and not ready yet: it loads its data, or repairs them."""


class Outcome(NamedTuple):
    """What a type did: whether anything changed, and one line for the user, without secrets."""

    changed: bool
    message: str


class Declares(NamedTuple):
    """What a type says about itself; a file without DECLARES says nothing special.

    needs       "root", "systemd": what the host must offer
    scope       "instance", or "host" where several servers of one host share what it changes
    secret      the host keeps no copy of the contents
    restarts    applying restarts the database server
    keys        names of the keys its contents take
    datastores  the only ones it works on; empty: any
    admin       only an admin may register it: its contents do on the host whatever they say
    """

    needs: Tuple[str, ...] = ()
    scope: str = "instance"
    secret: bool = False
    restarts: bool = False
    keys: Tuple[str, ...] = ()
    datastores: Tuple[str, ...] = ()
    admin: bool = False


Completed = commands.Completed


class Host:
    """The host as a type sees it. Everything that changes it goes through here, so check mode comes free.

    instance, datastore, datastore_version   of the database server
    address, port    where it answers; "" and 0 where unknown
    memory_mib       what the instance has; 0 where unknown
    restart_command  the words that restart it, and wait until it is up; empty where unknown
    directory    the instance's own directory; types of instance scope keep their files there
    module       id of the module
    held         its contents as they lie on the host: for query, which is given none
    home         where dbmod keeps contents and results on this host
    folder       the module's own folder there; keep() writes to it
    check        change nothing, tell what would change
    unfinished   the last try on this host failed or was cut off: what it left may be incomplete
    deadline     of time.monotonic(), when the type's function is killed
    """

    def __init__(self, facts: Dict[str, Any], check: bool = False, unfinished: bool = False) -> None:
        self.instance = str(facts.get("instance", ""))
        self.datastore = str(facts.get("datastore", ""))
        self.datastore_version = str(facts.get("datastore_version", ""))
        self.address = str(facts.get("address") or "")
        self.port = int(facts.get("port") or 0)
        self.memory_mib = int(facts.get("memory_mib") or 0)
        self.restart_command = [str(word) for word in facts.get("restart_command") or ()]
        self.directory = str(facts.get("directory", ""))
        self.module = str(facts.get("module", ""))
        self.held = bytes(facts.get("held", b""))
        self.home = str(facts.get("home", ""))
        self.folder = str(facts.get("folder", ""))
        self.check = check
        self.unfinished = unfinished
        self.root = os.environ.get(TEST_ROOT, "")
        self.deadline = time.monotonic() + float(facts.get("limit_seconds") or LIMIT_SECONDS)

    def path(self, path: str) -> str:
        """Say where *path* is: relative paths are in the instance's directory."""
        if not path.startswith("/"):
            return os.path.join(self.directory, path)
        return os.path.realpath(self.root + path)

    def read_file(self, path: str) -> Optional[bytes]:
        """Give the bytes of a file, None where there is none."""
        try:
            with open(self.path(path), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused("%s cannot be read (%s)" % (path, error.strerror)) from None

    def write_file(
        self,
        path: str,
        data: bytes,
        mode: Optional[int] = None,
        owner: Optional[Tuple[int, int]] = None,
        like: str = "",
    ) -> bool:
        """Make *path* hold *data*, whole or not at all; tell whether that is a change.

        mode    of the file; None: as it is, 0600 for a new one
        owner   uid and gid; None: as it is, ours for a new one
        like    a file whose owner and mode a new one gets
        """
        is_same = self.read_file(path) == data and mode in (None, files.mode_of(self.path(path)))
        if is_same and owner in (None, files.owner_of(self.path(path))):
            return False
        if not self.check:
            try:
                files.replace_file(self.path(path), data, mode, owner, self.path(like) if like else None)
            except (OSError, files.Unusable) as error:
                raise Refused("%s cannot be written (%s)" % (path, getattr(error, "strerror", error))) from None
        return True

    def make_directory(self, path: str) -> bool:
        """Make a directory that everybody may enter; tell whether it was missing."""
        if os.path.isdir(self.path(path)):
            return False
        if not self.check:
            try:
                for folder in reversed([self.path(path), os.path.dirname(self.path(path))]):
                    if not os.path.isdir(folder):
                        os.mkdir(folder)
                        os.chmod(folder, 0o755)  # noqa: S103  (whatever the umask is; the server reads here as its own user)
            except OSError as error:
                raise Refused("%s cannot be made (%s)" % (path, error.strerror)) from None
        return True

    def remove_file(self, path: str) -> bool:
        """Remove a file; tell whether it was there."""
        if not os.path.lexists(self.path(path)):
            return False
        if not self.check:
            try:
                os.unlink(self.path(path))
            except OSError as error:
                raise Refused("%s cannot be removed (%s)" % (path, error.strerror)) from None
        return True

    def keep(self, data: Optional[bytes]) -> None:
        """Keep *data* beside the module's contents for a later apply or remove; None: keep nothing."""
        if self.check or data == self.kept():
            return
        try:
            if data is None:
                os.unlink(self.kept_file)
            else:
                files.replace_file(self.kept_file, data, 0o600)
        except OSError as error:
            raise Refused("%s cannot be written (%s)" % (self.kept_file, error.strerror)) from None

    def kept(self) -> Optional[bytes]:
        """Give what keep() left; None where there is nothing."""
        try:
            with open(self.kept_file, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused("%s cannot be read (%s)" % (self.kept_file, error.strerror)) from None

    @property
    def kept_file(self) -> str:
        """Say where keep() writes: 0600, in a folder that only its owner enters."""
        return os.path.join(self.folder, files.KEPT)

    @contextlib.contextmanager
    def alone(self, wait_seconds: float) -> Iterator[None]:
        """Be the only one on this host for what two must not do at a time, as installing a package is."""
        with contextlib.ExitStack() as held:
            try:
                home = held.enter_context(files.folder(self.home, [], make=True))
                assert home is not None
                held.enter_context(files.locked(home, True, wait_seconds))
            except files.Unusable:
                raise Refused("another one is at work on this host (waited %g s)" % wait_seconds) from None
            yield

    def patience_seconds(self) -> float:
        """Say how long to wait for what may hang: two thirds of the time there is, so that it can still be undone."""
        return round(max(self.deadline - time.monotonic(), 0) * 2 / 3, 1)

    def command(
        self,
        arguments: List[str],
        changes: bool = True,
        data: bytes = b"",
        environment: Optional[Dict[str, str]] = None,
        limit_seconds: Optional[float] = None,
    ) -> Completed:
        """Run a program without a shell and wait; secrets never go into *arguments*.

        changes      False for a question, which check mode asks too; a change reads as done there (code 0)
        data         for its standard input
        environment  instead of the session's own
        """
        if self.check and changes:
            return Completed(0, "")
        if environment is None:
            environment = dict(os.environ, PATH=os.environ.get("PATH", "") + ":" + PATHS, LC_ALL="C")
        try:
            return commands.run(arguments, environment, data, limit_seconds=limit_seconds)
        except commands.TimedOut:
            raise Refused("%s timed out after %g s" % (arguments[0], limit_seconds or 0)) from None
        except OSError as error:
            raise Refused("%s cannot be run (%s)" % (arguments[0], error.strerror)) from None


Validate = Callable[[bytes], None]
Work = Callable[[bytes, Host], Outcome]
Query = Callable[[Host], str]


class Type(NamedTuple):
    """A loaded module type."""

    name: str
    declares: Declares
    validate: Validate
    apply: Work
    remove: Work
    query: Optional[Query] = None


def key_value(contents: bytes) -> Dict[str, str]:
    """Read `key=value` lines; `#` starts a comment line, keys become lower case, the last of two wins.

    Raises  Refused with the number of the line, never its text
    """
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused("the contents are not UTF-8 text (byte %d)" % error.start) from None
    if "\0" in text:
        raise Refused("the contents are not text (a zero byte)")
    values = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise Refused("line %d has no '='" % number)
        values[key.strip().lower()] = value.strip()
    return values


def one_line(text: str) -> str:
    """Make *text* a message: one line, no control characters, at most MESSAGE_LIMIT characters, valid Unicode."""
    shown = "".join(character if character.isprintable() else " " for character in text[: 4 * MESSAGE_LIMIT]).strip()
    shown = shown.encode("utf-8", "replace").decode("utf-8")
    return shown if len(shown) <= MESSAGE_LIMIT else shown[: MESSAGE_LIMIT - 1] + "…"


def load(name: str, source: str, file_name: str) -> Tuple[Type, Dict[str, Any]]:
    """Run the source of a module type, without its main; give its functions and all its names.

    Raises  whatever its source raises; KeyError naming the function that is missing
    """
    names: Dict[str, Any] = {"__name__": "dbmod_" + name, "__file__": file_name}
    exec(compile(source, file_name, "exec"), names)
    declares = names.get("DECLARES", Declares())
    return Type(name, declares, names["validate"], names["apply"], names["remove"], names.get("query")), names


def main(validate: Validate, apply: Work, remove: Work, query: Optional[Query] = None) -> None:
    """Run a type as an ordinary Ansible module; never raises, never shows contents."""
    from . import dbmod_module  # needs Ansible's own module_utils, which the shipped bundle lacks

    names: Dict[str, Any] = getattr(apply, "__globals__", {})
    name = os.path.basename(str(names.get("__file__", "")))
    name = name[len("dbmod_") :].partition(".")[0] if name.startswith("dbmod_") else name
    dbmod_module.main(Type(name, names.get("DECLARES", Declares()), validate, apply, remove, query))
