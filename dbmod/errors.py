"""Every way dbmod says no. (Exit code 4, no host was reached, is no error here: `ledger.exit_code` reads it.)

DbmodError
├── BadInput            2    refused before anything was touched
│   ├── NotFound        2    no such module, instance, cluster, type, datastore or run
│   ├── NotUnique       2    a name that several things bear
│   └── Refused         2    a rule of the registry, the ledger or the fleet forbids it
├── LedgerError         3    the ledger cannot be used
│   ├── LedgerBusy      3    another writer holds it for longer than --lock-wait
│   ├── LedgerDamaged   3    its bytes are not what was written
│   └── LedgerUnwritable 3   full disk, I/O error, missing right, a lost connection
├── Failed              1    something was tried and failed (a host, a server, a cloud call)
├── Interrupted         130  stopped by the user
└── InternalError       5    a fault of dbmod itself
"""

from collections.abc import Mapping


class DbmodError(Exception):
    """A clear refusal or failure: what, where, in what state things are, what to do next.

    what       one sentence, without a full stop where it quotes a specification text that has none
    details    label → text, one line each (module, run, state)
    next_step  what the user can do now
    """

    exit_code = 5

    def __init__(self, what: str, *, details: Mapping[str, str] | None = None, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.details = dict(details or {})
        self.next_step = next_step

    def lines(self) -> list[str]:
        """Give the text for a terminal, without the `ERROR: ` in front."""
        rows = self.details | ({"next": self.next_step} if self.next_step else {})
        width = max((len(label) for label in rows), default=0)
        return [self.what, *(f"  {label:<{width}}  {text}" for label, text in rows.items())]


class BadInput(DbmodError):
    exit_code = 2


class NotFound(BadInput):
    pass


class NotUnique(BadInput):
    pass


class Refused(BadInput):
    pass


class LedgerError(DbmodError):
    exit_code = 3


class LedgerBusy(LedgerError):
    pass


class LedgerDamaged(LedgerError):
    pass


class LedgerUnwritable(LedgerError):
    pass


class Failed(DbmodError):
    exit_code = 1


class Interrupted(DbmodError):
    exit_code = 130


class InternalError(DbmodError):
    exit_code = 5
