"""A machine of a bed as the host of a request, without the controller's part: no ledger, no Ansible."""

import os
from pathlib import Path

from dbmod import config, module_types, transport
from tests import hosts
from tests.beds.hosts import Host


class Remote(hosts.Host):
    """A machine of the bed: the same requests as a scratch host takes, by ssh and sudo."""

    answer_limit_bytes = transport.ANSWER_LIMIT_BYTES

    def __init__(self, machine: Host) -> None:
        self.machine = machine
        self.home, self.root = Path("/var/lib/dbmod"), machine.root
        self.settings = config.Settings()
        self.sources = module_types.sources(self.settings)
        self.python = "/usr/bin/python3"
        self.becomes = ("sudo",)

    def words(self) -> list[str]:
        return self.machine.ssh_command(*self.becomes, "sh", "-c", transport.command(self.python))

    def environment(self) -> dict[str, str]:
        return dict(os.environ)
