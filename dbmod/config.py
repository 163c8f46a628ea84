"""The configuration: one file, every key also as DBMOD_<KEY>, unknown keys refused."""

import getpass
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from dbmod import errors, paths

MIB = 1 << 20
SECRETS = ("DBMOD_KEY", "DBMOD_PREVIOUS_KEY")  # read where they are used; never a setting, never shown
PRIVATE = ("DBMOD_FAILPOINT", "DBMOD_FAILPOINT_FILE", "DBMOD_CONFIG")
RANGE = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}\Z")
METHODS = re.compile(r"[A-Za-z0-9@.,-]*\Z")
LEDGER_SCHEMES = ("postgresql://", "postgres://")
HIDDEN = "(not shown)"
PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


class Flavor(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    ram_mib: int
    vcpus: int
    disk_gb: int


FLAVORS = {
    "10": Flavor(name="dbmod.tiny", ram_mib=256, vcpus=1, disk_gb=2),
    "15": Flavor(name="dbmod.small", ram_mib=512, vcpus=1, disk_gb=5),
    "20": Flavor(name="dbmod.medium", ram_mib=2048, vcpus=2, disk_gb=20),
    "25": Flavor(name="dbmod.large", ram_mib=8192, vcpus=4, disk_gb=80),
}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every key of dbmod.yml with its default."""

    home: str = "~/.local/state/dbmod"
    ledger: str = ""  # postgresql://…, or the path of a file that holds it; empty: files in the home. Never shown
    identity: Literal["config", "openstack"] = "config"
    tenant: str = "default"
    admin: bool = True  # with a ledger in PostgreSQL: False
    actor: str = ""  # who is written into runs; empty: the user's login name
    provider: str = "local"
    region: str = ""  # of a cloud; empty: its own, and RegionOne where there is none
    datastore: str = "redis"  # of `create` without --datastore
    key_command: str = ""  # prints the key of the contents, as `vault kv get …` does; empty: <home>/key
    type_directories: tuple[str, ...] = ()  # where users' own module types lie
    contents_limit_bytes: int = 8 * MIB
    lock_wait_seconds: float = 30
    connect_timeout_seconds: int = 10
    type_timeout_seconds: int = 300  # of one module on one host
    forks: int = 50
    tenant_batch_size_limit: int = 50  # what a tenant that is no admin may ask of module-reapply
    tenant_delay_minimum_seconds: float = 2
    network_filesystem_allowed: bool = False
    become_password_file: str = ""  # the password for sudo on hosts you adopted; empty: none, or -K asks
    vault_ids: tuple[str, ...] = ()  # LABEL@FILE of Ansible vaults: your inventories, contents of module-sync
    ssh_private_key: str = ""  # of hosts that no inventory of yours knows; empty: ssh's own choice, and its agent
    ssh_key_exchange: str = ""  # methods that ssh tries first, as curve25519-sha256; empty: its own order
    accept_host_key: bool = False  # of a new machine whose console does not tell its keys
    openstack_cloud: str = ""  # of clouds.yaml; empty: OS_CLOUD, the OS_* variables, or the only cloud there is
    openstack_network: str = ""  # id or name, of instances without --nic; empty: the only network of the project
    openstack_floating_network: str = ""  # gives each instance an address that is reached from outside
    openstack_allowed_ranges: tuple[str, ...] = PRIVATE_RANGES  # who reaches ssh and the datastore's port
    openstack_user: str = "debian"  # whom to log in as where the image does not say so (os_admin_user)
    openstack_timeout_seconds: int = 300  # for a server to be there, and for it to be reached
    environment_passed: tuple[str, ...] = ()  # names that runs see besides dbmod's own list
    local_directory: str = ""  # of the local servers; empty: <home>/local, for root /var/lib/dbmod-local
    local_ports: str = "15000-19999"
    local_uid_base: int = 200000  # as root a local server runs under this number plus its port
    flavors: dict[str, Flavor] = msgspec.field(default_factory=FLAVORS.copy)

    def __post_init__(self) -> None:
        if not self.home:
            raise ValueError("home must not be empty")
        if os.path.expanduser(self.home).startswith("~"):  # noqa: PTH111  (pathlib's raises)
            raise ValueError("home begins with `~`, and who that is nobody knows here: set HOME, or DBMOD_HOME")
        if self.ledger and not self.ledger.startswith((*LEDGER_SCHEMES, "/", "~")):
            raise ValueError("ledger must be postgresql://…, or the absolute path of a file that holds that")
        if not 1 <= self.contents_limit_bytes <= 64 * MIB:
            raise ValueError("contents_limit_bytes must be from 1 to 67108864")
        if not self.tenant or self.tenant == "all":
            raise ValueError("tenant must have a name, and not `all`")
        low, _, high = self.local_ports.partition("-")
        if not (low.isdigit() and high.isdigit() and 1024 <= int(low) <= int(high) <= 55535):
            raise ValueError("local_ports must be LOW-HIGH with 1024 <= LOW <= HIGH <= 55535")
        if not METHODS.match(self.ssh_key_exchange):
            raise ValueError("ssh_key_exchange must hold names as curve25519-sha256, separated by commas")
        if not all(RANGE.match(one) for one in self.openstack_allowed_ranges):
            raise ValueError("openstack_allowed_ranges must hold networks as 10.0.0.0/8")

    def __repr__(self) -> str:
        return f"Settings(home={self.home!r})"  # what names a ledger may hold a password

    @property
    def home_path(self) -> Path:
        return Path(self.home).expanduser().absolute()

    @property
    def actor_name(self) -> str:
        try:
            return self.actor or getpass.getuser()
        except (KeyError, OSError):  # no account has the number, as in a container that runs under any
            return f"uid {os.getuid()}"

    @property
    def local_path(self) -> Path:
        if self.local_directory:
            return Path(self.local_directory).expanduser().absolute()
        return Path("/var/lib/dbmod-local") if os.geteuid() == 0 else self.home_path / "local"

    @property
    def local_port_range(self) -> range:
        low, _, high = self.local_ports.partition("-")
        return range(int(low), int(high) + 1)


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, and for each key where its value came from: "default", a file's path, or a variable's name."""

    settings: Settings
    sources: dict[str, str]


def candidate_files(environ: Mapping[str, str]) -> list[Path]:
    """List where a configuration file may be; the first that exists is taken."""
    if environ.get("DBMOD_CONFIG"):
        return [Path(environ["DBMOD_CONFIG"])]
    return [Path("dbmod.yml"), paths.named("~/.config/dbmod/dbmod.yml"), Path("/etc/dbmod/dbmod.yml")]


def file_in_use(environ: Mapping[str, str]) -> Path | None:
    """Give the configuration file. The one that DBMOD_CONFIG names has to be there, which reading it tells."""
    for path in candidate_files(environ):
        if os.path.exists(path) or environ.get("DBMOD_CONFIG"):  # noqa: PTH110  (False where we may not look)
            return path
    return None


def load(environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the configuration.

    environ  os.environ unless a test gives another
    Raises   BadInput naming the key and the file or variable
    """
    environ = os.environ if environ is None else environ
    values, sources = _from_file(environ)
    known = Settings.__struct_fields__
    for name in sorted(environ):
        if not name.startswith("DBMOD_") or name in SECRETS or name in PRIVATE or name.startswith("DBMOD_TEST_"):
            continue
        key = name.removeprefix("DBMOD_").lower()
        if key not in known:
            raise errors.BadInput(f"{name}: dbmod has no such setting", next_step="dbmod config lists them all")
        values[key] = _from_text(environ[name])
        sources[key] = name
    if values.get("ledger"):
        values.setdefault("admin", False)  # it is shared: who is an admin is said, not assumed
    for key, value in values.items():
        _check_one(key, value, sources.get(key, "default"))
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise errors.BadInput(f"the configuration is not valid: {error}", next_step="dbmod config shows it") from error
    return Loaded(settings=settings, sources={key: sources.get(key, "default") for key in known})


def shown(settings: Settings) -> dict[str, Any]:
    """Give every setting as it may be seen: the address of a ledger may hold a password."""
    values: dict[str, Any] = msgspec.to_builtins(settings)
    if settings.ledger.startswith(LEDGER_SCHEMES):
        values["ledger"] = HIDDEN
    return values


def _from_file(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    path = file_in_use(environ)
    if path is None:
        return {}, {}
    from dbmod import yaml_file  # 15 ms, only where there is a file

    data = yaml_file.read(path) or {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise errors.BadInput(f"{path} must hold `key: value` lines")
    unknown = sorted(set(data) - set(Settings.__struct_fields__))
    if unknown:
        raise errors.BadInput(
            f"{path}: dbmod has no such setting: {', '.join(unknown)}", next_step="dbmod config lists them all"
        )
    return dict(data), dict.fromkeys(data, str(path))


def _from_text(text: str) -> Any:
    """Read a list or mapping from JSON; anything else stays text, which the conversion below reads."""
    if text[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return text
    return text


def _check_one(key: str, value: Any, source: str) -> None:
    try:
        msgspec.convert({key: value}, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise errors.BadInput(f"{source}: {key}: {error}") from error
