"""What the ledger stores, in the one shape that all of dbmod uses.

A record is frozen; a change is `msgspec.structs.replace(record, …)` put back in a transaction. Times are UTC.
"""

from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a table of the store.

    table   the table's name
    shard   the table, or table-<value of `within`> where a table is split
    within  the field that splits the table into shards; None for a table in one piece
    first   the field that a key begins with, before a space: what has it in common is found without reading the rest
    """

    table: ClassVar[str]
    within: ClassVar[str | None] = None
    first: ClassVar[str | None] = None

    @property
    def key(self) -> str:
        """Name the record inside its shard."""
        return str(getattr(self, "id"))  # noqa: B009


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where contents were declared: a file of a team's git."""

    declared_in: str  # the name of that set of modules; by default the file's path in its repository
    revision: str  # the commit; empty where it is not known
    is_dirty: bool  # the working tree differed from the commit


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One contents of a module."""

    number: int  # 1 for the first contents of a module
    md5: str  # of the base64 text on one line, as the guide shows it
    sha256: str  # of the raw bytes; what every integrity check uses
    size_bytes: int
    author: str
    created_at: datetime
    source: Source | None = None  # None: given by hand
    pruned_at: datetime | None = None  # since when its contents are gone


class Module(Record, frozen=True, kw_only=True):
    """Named contents of a type, with all their versions."""

    table: ClassVar[str] = "modules"

    id: str
    name: str
    type: str
    tenant: str | None  # None: all tenants
    datastore: str | None  # None: all datastores
    datastore_version: str | None
    description: str | None
    auto_apply: bool
    visible: bool
    live_update: bool
    priority_apply: bool
    apply_order: int  # 0..9
    is_admin: bool
    full_access: bool
    created_at: datetime
    updated_at: datetime
    versions: tuple[Version, ...]
    declared_in: str = ""  # as in Source; empty: no file declares it
    deleted_at: datetime | None = None

    @property
    def current(self) -> Version:
        return self.versions[-1]

    @property
    def md5(self) -> str:
        return self.current.md5

    def version(self, number: int) -> Version | None:
        return next((version for version in self.versions if version.number == number), None)


class Mark(Record, frozen=True, kw_only=True):
    """What a ledger has to know of itself."""

    table: ClassVar[str] = "marks"

    id: str
    value: str


InstanceStatus = Literal["BUILD", "ACTIVE", "SHUTDOWN", "ERROR", "DELETED"]


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's word that an instance is to be left alone."""

    reason: str
    by: str
    since: datetime
    until: datetime | None  # None: until it is taken back


class Instance(Record, frozen=True, kw_only=True):
    """One database server."""

    table: ClassVar[str] = "instances"

    id: str
    name: str
    tenant: str
    provider: str
    datastore: str
    datastore_version: str
    flavor: str
    volume_gb: int
    volume_type: str | None
    region: str
    availability_zone: str | None
    locality: str | None
    cluster_id: str | None
    status: InstanceStatus
    fault: str  # why it is in ERROR; empty otherwise
    address: str | None
    port: int | None
    server_id: str | None
    volume_id: str | None
    created_at: datetime
    updated_at: datetime
    built_at: datetime | None = None  # None until it was ACTIVE once
    nics: tuple[str, ...] = ()  # as given: net-id=…,v4-fixed-ip=…
    ram_mib: int | None = None  # of its flavor; of its machine where it was adopted
    vcpus: int | None = None
    host_keys: tuple[str, ...] = ()  # `<type> <base64>`, as ssh knows its host; empty: not reached by ssh
    restart_command: tuple[str, ...] = ()  # of an adopted server; empty: the unit that dbmod wrote
    provider_facts: dict[str, str | int] = {}  # what its provider has to remember: directory, uid, user, inventory
    hold: Hold | None = None
    deleted_at: datetime | None = None


class Cluster(Record, frozen=True, kw_only=True):
    """A named group of instances of one datastore."""

    table: ClassVar[str] = "clusters"

    id: str
    name: str
    tenant: str
    provider: str
    datastore: str
    datastore_version: str
    region: str
    locality: str | None
    task_name: str  # BUILDING, GROWING_CLUSTER, SHRINKING_CLUSTER, DELETING, NONE
    task_description: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


AttemptState = Literal["planned", "ok", "error", "unreachable", "unknown", "skipped", "cancelled"]
LEFT_ALONE = "SKIPPED"  # status of an attempt that was skipped as its host was not well, and counts as failed


class Row(Record, frozen=True, kw_only=True):
    """The live state of one module on one instance; changes only on evidence from the host."""

    table: ClassVar[str] = "rows"
    within: ClassVar[str | None] = "module_id"

    module_id: str
    instance_id: str
    held: int | None  # number of the last version applied with success
    held_md5: str | None
    held_sha256: str | None
    status: Literal["OK", "ERROR"]  # of the last attempt that the host answered, like the next two
    message: str
    last_attempt: Literal["ok", "error"]
    serial: int  # of the run that wrote it
    run_id: str
    created_at: datetime  # first apply ever; survives remove
    updated_at: datetime  # last apply or remove that succeeded
    removed_at: datetime | None = None
    observed: Literal["in sync", "drifted", "missing", "unknown"] | None = None  # by a look after the last attempt
    observed_at: datetime | None = None
    observed_detail: str = ""  # what that look found otherwise, or waiting for a restart

    @property
    def key(self) -> str:
        return self.instance_id


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The host's own result of one module: result.json, which the kit on the host writes."""

    instance: str
    machine: str
    run: str
    serial: int
    verb: str
    type: str
    name: str
    datastore: str
    datastore_version: str
    tenant: str
    module: str
    version_number: int
    md5: str
    sha256: str
    status: Literal["OK", "ERROR"]
    message: str
    created: datetime
    updated: datetime
    removed: datetime | None
    auto_apply: bool
    visible: bool
    is_admin: bool


class Attempt(Record, frozen=True, kw_only=True):
    """One try of one module on one instance in one run. Never changed once it is no longer planned."""

    table: ClassVar[str] = "attempts"
    within: ClassVar[str | None] = "run_id"
    first: ClassVar[str | None] = "instance_id"

    run_id: str
    instance_id: str
    module_id: str  # "" for a run about instances, not modules
    batch: int  # from 1
    position: int  # of the host in the run, from 0
    order: int  # of the module on the host, from 0
    state: AttemptState
    number: int  # version to apply; 0 where there is none
    from_number: int | None
    sha256: str
    status: str = ""
    message: str = ""
    changed: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    closed_in: int = 0  # serial of the commit since which it is no longer planned; 0 where an older dbmod closed it
    evidence: Evidence | None = None

    @property
    def key(self) -> str:
        return f"{self.instance_id} {self.module_id}"

    @property
    def place(self) -> tuple[int, int, int]:
        """Give its place in the run: what comes first, is smaller."""
        return self.batch, self.position, self.order

    @property
    def has_failed(self) -> bool:
        """Tell whether it counts against the failures that a run is allowed; a dead host does not."""
        return self.state in ("error", "unknown") or (self.state == "skipped" and self.status == LEFT_ALONE)

    @property
    def is_bad(self) -> bool:
        """Tell whether the run came to it and what was asked for is not done."""
        return self.has_failed or self.state == "unreachable"

    @property
    def would(self) -> str:
        """Say what a look found that the run itself would come to; "" of what was no look, or found nothing."""
        if self.state != "skipped" or self.status not in ("OK", "ERROR"):
            return ""
        return "fail" if self.status == "ERROR" else "change" if self.changed else "stay"

    @property
    def told(self) -> str:
        """Give the state for people: of a look what it found."""
        return f"would {self.would}" if self.would else self.state


RunState = Literal["planned", "running", "pausing", "paused", "done", "failed", "cancelled", "lost"]


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The process that carries a run: enough to tell whether it still lives."""

    host: str
    boot_id: str
    pid: int
    started_ticks: int  # field 22 of /proc/<pid>/stat: a reused pid is another process


ASKING = ("query", "retrieve", "reconcile")  # verbs that change no host, and are in nobody's way
CARRYING = ("apply", "reapply", "remove", "rollback")  # modules to hosts, batch by batch
CHANGING_INSTANCES = ("adopt", "create", "delete", "restart", "grow", "shrink")


class Run(Record, frozen=True, kw_only=True):
    """One execution of a playbook."""

    table: ClassVar[str] = "runs"

    id: str
    serial: int  # one counter per ledger; fences late writers
    verb: str  # apply, remove, query, retrieve, reapply, reconcile, create, delete, restart, grow, shrink
    playbook: str  # module_apply, instance_create …
    module_id: str | None  # of a reapply
    cluster_id: str | None
    options: dict[str, Any]
    actor: str
    reason: str
    subject: str = ""  # which instances, for people: the name of one, or how many
    state: RunState
    owner: Owner | None
    batch: int  # the batch that was last started; 0 before the first
    batch_sizes: tuple[int, ...]
    delay_seconds: float
    max_errors: int | None  # failed hosts after which no new batch starts; None: no limit
    max_unreachable: int | None = None  # likewise dead ones
    pause_after: int = 0  # the batch after which it pauses; 0: none
    not_after: datetime | None = None  # when no batch starts any more
    follows: str = ""  # the run that this one goes on with, or rolls back
    created_at: datetime
    renewed_at: datetime
    ended_at: datetime | None = None
    closed_in: int = 0  # serial of the commit that ended it, as of attempts
    stop_requested_by: str = ""  # who asked it to stop after the batch in flight; empty: nobody
    message: str = ""

    @property
    def is_open(self) -> bool:
        return self.state in ("planned", "running", "pausing", "paused")

    @property
    def may_go_on(self) -> bool:
        """Tell whether it can be paused, or gone on with after its end: a question, a look, a building cannot."""
        return self.verb in CARRYING and not self.options.get("check")

    @property
    def title(self) -> str:
        """Name what it does, for people: a look is never called like the thing itself."""
        return f"{self.verb} --check" if self.options.get("check") else self.verb

    @property
    def ways_out(self) -> str:
        """Say what ends an open run that stands in the way; nobody needs to wait for one that is paused."""
        first = "run-resume" if self.state == "paused" else "run-wait"
        return f"dbmod {first} {self.id}, or dbmod run-cancel {self.id}"
