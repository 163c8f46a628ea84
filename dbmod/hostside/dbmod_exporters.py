# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Prometheus exporters of the database servers: their flags, how they are told a login, the unit that runs one."""

import json
import re
from typing import NamedTuple, Optional, Sequence, Tuple

from . import dbmod_kit as kit

FLAG = re.compile(r"--([A-Za-z][A-Za-z0-9._-]*)(?:=[ -~]*)?\Z")

UNIT = """# Written by dbmod; a second apply overwrites changes.
# module {module}
[Unit]
Description={name} of dbmod's instance {instance}
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
{login}
ExecStart={command}
Restart=on-failure
RestartSec=5
DynamicUser=yes
UMask=0077
CapabilityBoundingSet=
LockPersonality=yes
MemoryDenyWriteExecute=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""


class Exporter(NamedTuple):
    """An exporter as distributions have it.

    name      of its project; its program and package elsewhere than on Debian
    package   of Debian; its program and its unit have that name too
    up        the metric that says whether it reaches the server
    flags     which a module may give, without their dashes: what is collected, and nothing that runs or reads a file
    settings  the text that tells it where and how to log in: the fields of Login; {at} is address and port
    login     the lines of the unit that hand this text over
    words     of its command, for every login
    limits    words for the account that dbmod made, which must not ask what it may not
    """

    name: str
    package: str
    up: str
    flags: str
    settings: str
    login: str
    words: Tuple[str, ...] = ()
    limits: Tuple[str, ...] = ()

    @property
    def programs(self) -> Tuple[str, str]:
        return self.package, self.name


class Login(NamedTuple):
    """Where an exporter logs in, and as whom; Redis knows logins without a user, and without a password."""

    datastore: str
    user: str
    password: str
    address: str
    port: int


EXPORTERS = {
    "mysql": Exporter(
        name="mysqld_exporter",
        package="prometheus-mysqld-exporter",
        up="mysql_up",
        flags=r"(?:no-)?(?:collect|exporter|log)\.[a-z_.]+|timeout-offset",
        settings="[client]\nuser={user}\npassword={password}\nhost={address}\nport={port}\n",
        login="LoadCredential=my.cnf:{file}",
        words=("--config.my-cnf=${CREDENTIALS_DIRECTORY}/my.cnf",),
    ),
    "postgresql": Exporter(
        name="postgres_exporter",
        package="prometheus-postgres-exporter",
        up="pg_up",
        flags=r"(?:no-)?(?:(?:collector|log)\.[a-z_.]+|disable-(?:default|settings)-metrics|auto-discover-databases)"
        r"|(?:ex|in)clude-databases|constantLabels",
        settings="DATA_SOURCE_URI={at}/postgres?sslmode=disable\nDATA_SOURCE_USER={user}\nDATA_SOURCE_PASS={password}\n",
        login="EnvironmentFile={file}",
    ),
    "redis": Exporter(
        name="redis_exporter",
        package="prometheus-redis-exporter",
        up="redis_up",
        flags=r"check-(?:single-)?(?:keys|streams)|check-key-groups|check-keys-batch-size|count-keys|is-cluster"
        r"|export-client-(?:list|port)|include-(?:config|system)-metrics|max-distinct-key-groups|connection-timeout"
        r"|log-format|redis-only-metrics|ping-on-connect",
        settings="REDIS_ADDR=redis://{at}\nREDIS_USER={user}\nREDIS_PASSWORD={password}\n",
        login="EnvironmentFile={file}",
        limits=("--config-command=-",),
    ),
}


def check_flags(flags: Sequence[str], datastore: str) -> None:
    """Refuse a flag that the exporter does not take from a module; "": that none of them takes.

    Raises  Refused with the number of the flag, never its text
    """
    every = [EXPORTERS[datastore]] if datastore else list(EXPORTERS.values())
    allowed = re.compile(r"(?:%s)\Z" % "|".join(one.flags for one in every))
    who = "%s does not take" % every[0].name if datastore else "no exporter takes"
    for number, flag in enumerate(flags, 1):
        found = FLAG.match(flag)
        if found is None or not allowed.match(found.group(1)):
            raise kit.Refused("%s the flag %d from a module" % (who, number))


def encoded(login: Login) -> bytes:
    """Write a login for the exporter; its first line is a comment there, and read by decoded."""
    at = ("[%s]:%d" if ":" in login.address else "%s:%d") % (login.address, login.port)
    fields = login._asdict()
    settings = EXPORTERS[login.datastore].settings.format(at=at, **fields)
    return ("# %s\n%s" % (json.dumps(fields), settings)).encode("ascii")


def decoded(data: Optional[bytes]) -> Optional[Login]:
    """Read what encoded wrote; None where there is nothing."""
    if data is None:
        return None
    try:
        return Login(**json.loads(data.decode("ascii").partition("\n")[0][2:]))
    except (ValueError, TypeError):
        raise kit.Refused("what dbmod kept of the exporter's login is damaged") from None


def unit(exporter: Exporter, host: kit.Host, words: Sequence[str], *, program: str) -> bytes:
    """Write the unit of one server's exporter, whose login systemd reads as root where the host keeps it.

    words  of its command, as the exporter is to get them
    """
    path = host.kept_file.replace("%", "%%")
    text = UNIT.format(
        module=host.module,
        name=exporter.name,
        instance=host.instance,
        login=exporter.login.format(file=path),
        command=" ".join([program, *exporter.words, *map(_quoted, words)]),
    )
    return text.encode("utf-8")


def _quoted(word: str) -> str:
    """Quote a word so that systemd passes it on as it is."""
    for sign, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(sign, written)
    return '"%s"' % word


def is_of_module(text: bytes, module: str) -> bool:
    """Tell whether a unit was written for this module."""
    return "# module %s" % module in text.decode("utf-8", "replace").split("\n")
