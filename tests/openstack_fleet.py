"""A fleet in the cloud of a bed, used by the command as a user does."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from dbmod import config, store
from dbmod.records import Instance
from dbmod.store.interface import Store
from tests.beds.cloud import Cloud
from tests.beds.machines import Machine

PATIENCE_SECONDS = 280  # below the time limit of a test


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"

    def json(self) -> Any:
        return json.loads(self.out)


class OpenstackFleet:
    """A home whose instances are in a cloud.

    settings  of dbmod, besides those that lead to the cloud: name → value
    """

    def __init__(self, cloud: Cloud, home: Path, **settings: str) -> None:
        self.cloud = cloud
        self.home = home
        self.patience_seconds = PATIENCE_SECONDS
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "DBMOD_"))}
        self.environment = plain | cloud.environment
        self.environment |= {"DBMOD_HOME": str(home), "DBMOD_PROVIDER": "openstack"}
        self.environment |= {f"DBMOD_{name.upper()}": value for name, value in settings.items()}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "dbmod", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | environment,
        )

    def run(self, *words: str, **environment: str) -> Ended:
        """Run dbmod."""
        began = time.monotonic()
        process = self.start(*words, **environment)
        try:
            out, err = process.communicate(timeout=self.patience_seconds)
        except BaseException:
            process.kill()
            raise
        return Ended(code=process.returncode, out=out, err=err, seconds=time.monotonic() - began)

    def done(self, *words: str) -> Ended:
        """Run dbmod, which has to succeed."""
        ended = self.run(*words)
        assert ended.code == 0, ended.said
        return ended

    @property
    def store(self) -> Store:
        return store.open(config.Settings(home=str(self.home)))

    def instance(self, name: str) -> Instance:
        [found] = self.store.snapshot().find(Instance, name=name, deleted_at=None)
        return found

    def machine(self, name: str) -> Machine:
        return self.cloud.machine(str(self.instance(name).server_id))

    def mine(self) -> dict[str, str]:
        """List what is in the cloud and named by dbmod."""
        return {what: name for what, name in self.cloud.resources().items() if str(name).startswith("dbmod-")}
