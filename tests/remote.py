"""A machine of a bed as the host of a request, without the controller's part: no ledger, no Ansible."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dbmod import config, module_types, transport
from tests import hosts
from tests.beds.hosts import Host


class Remote(hosts.Host):
    """A machine of the bed: the same requests as a scratch host takes, by ssh and sudo."""

    def __init__(self, machine: Host) -> None:
        self.machine = machine
        self.home, self.root = Path("/var/lib/dbmod"), machine.root
        self.settings = config.Settings()
        self.sources = module_types.sources(self.settings)
        self.python = "/usr/bin/python3"
        self.becomes = ("sudo",)

    def send(
        self,
        request: transport.Request,
        contents: Sequence[bytes] = (),
        *,
        sources: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> hosts.Sent:
        command = self.machine.ssh_command(*self.becomes, "sh", "-c", transport.command(self.python))
        frame = transport.frame(request, self.sources if sources is None else sources, contents)
        ended = subprocess.run(command, input=frame, capture_output=True, timeout=timeout, check=False)
        answer = transport.read_answer(ended.stdout, request.run)
        return hosts.Sent(answer=answer, output=ended.stdout, errors=ended.stderr)
