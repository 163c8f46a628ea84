"""A stand-in of the New Relic infrastructure agent, which is in no registry that tests reach: a real unit of systemd.

It does not start while BROKEN is there, counts its starts, and keeps the key that it was started with.
"""

from tests.beds.machines import Machine

FILE, BROKEN = "etc/newrelic-infra.yml", "etc/newrelic-infra.broken"
LOG, KEY = "var/log/newrelic-infra.log", "var/lib/newrelic-infra.key"
PROGRAM = f"""#!/bin/sh
umask 077
sed -n 's/^license_key: //p' /{FILE} >/{KEY}
echo started >>/{LOG}
exec sleep infinity
"""
UNIT = f"""[Unit]
Description=stand-in of the New Relic infrastructure agent
StartLimitIntervalSec=0

[Service]
ExecStartPre=/bin/sh -c '! test -e /{BROKEN}'
ExecStart=/usr/local/sbin/newrelic-infra
"""


class Agent:
    """The agent on a machine of a bed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        program = machine.root / "usr/local/sbin/newrelic-infra"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        (machine.root / "etc/systemd/system/newrelic-infra.service").write_text(UNIT)
        machine.run("systemctl", "daemon-reload")

    @property
    def starts(self) -> int:
        log = self.machine.root / LOG
        return len(log.read_text().splitlines()) if log.exists() else 0

    @property
    def key(self) -> str:
        """Give the key that it was last started with."""
        return (self.machine.root / KEY).read_text().strip()

    @property
    def state(self) -> str:
        return self.machine.run("systemctl", "is-active", "newrelic-infra", check=False).stdout.strip()
