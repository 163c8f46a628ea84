"""The command on a ledger in PostgreSQL: its password is seen nowhere, and what happens when the server is gone."""

import json
import stat
from pathlib import Path

import pytest

from dbmod.records import Row
from tests import figures
from tests.end_to_end import canaries
from tests.end_to_end.canaries import Canary
from tests.end_to_end.sites import Site, finish
from tests.faults import failpoints
from tests.postgresql import PASSWORD, QUOTED, Server

pytestmark = pytest.mark.patient

# Each core alone: the address holds it encoded, libpq's parameters as it is.
CANARIES = (Canary(name="password", text=PASSWORD), Canary(name="password in an address", text=QUOTED))


def test_nobody_is_an_admin_unless_the_settings_say_so(team_site: Site) -> None:
    del team_site.environment["DBMOD_ADMIN"]
    words = ("module-create", "mine", "ping", "-")
    refused = team_site.dbmod(*words, "--all_tenants", stdin=b"message=x\n")
    assert refused.code == 2, refused.said
    shown = {one["Key"]: one["Value"] for one in json.loads(team_site.well("config", "-f", "json").out)}
    assert (shown["admin"], shown["ledger"]) == (False, str(team_site.directory / "address"))
    team_site.well(*words, stdin=b"message=x\n")


def test_the_password_of_the_ledger_is_seen_nowhere(team_site: Site) -> None:
    site = team_site
    site.add_hosts(2)
    site.add_module("mymod", b"message=Module.V1\n")
    trap = failpoints.Trap("before_record", site.directory / "trap")
    command = site.start("module-apply", "--all", "--module", "mymod", "-vvv", "--debug", **trap.environment)
    trap.wait(1)
    pids = failpoints.processes(site.home)
    hits = canaries.in_processes(pids, CANARIES, files=("cmdline", "environ"))
    held = {Path(hit.where) for hit in canaries.in_files(site.directory, CANARIES)}
    [run] = (site.home / "runs").iterdir()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (run, run / "ledger")]
    artifacts = [path for path in run.rglob("*") if path.is_file()]
    trap.release()
    ended = finish(command)
    assert ended.code == 0, ended.said
    hits += canaries.in_text(ended.out + ended.err, CANARIES, where="output")
    for words in (("config",), ("config", "-f", "json"), ("ledger-check", "--debug"), ("run-show", site.last_run().id)):
        hits += canaries.in_text(site.well(*words).said, CANARIES, where=" ".join(words))
    assert hits == []
    assert held == {site.directory / "address", run / "ledger"}
    assert modes == [0o700, 0o600]
    assert any(path.name == "command" for path in artifacts)  # where ansible-runner writes the environment
    assert not run.exists()
    figures.figure("R15", f"the ledger's password: 0 hits in {len(pids)} processes, {len(artifacts)} files of a run")


def test_a_server_killed_in_the_middle_of_a_reapply_is_settled_by_one_reconcile(
    team_site: Site, postgresql: Server
) -> None:
    """Killed and started again at the first batch, it is waited for; at the second, it stays away."""
    site = team_site
    site.add_hosts(3)
    module = site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "--all", "--module", "mymod")
    site.update_module("mymod", b"message=Module.V2\n")
    trap = failpoints.Trap("before_record", site.directory / "trap")
    words = ("module-reapply", "mymod", "--batch_size", "1", "--delay", "0")
    command = site.start(*words, DBMOD_LOCK_WAIT_SECONDS="6", **trap.environment)
    trap.wait(1)
    postgresql.kill()
    trap.release()
    postgresql.start()
    trap.wait(1)
    postgresql.kill()
    trap.release()
    ended = finish(command)
    away = site.dbmod("run-list")
    postgresql.start()
    for one in (ended, away):
        assert one.code == 3, one.said
        assert "Traceback" not in one.said
        assert "the ledger cannot be reached" in one.err
        assert "next" in one.err
    assert site.well("run-list").err.count("was lost") == 1
    run = site.last_run()
    assert (run.verb, run.state) == ("reapply", "lost")
    assert sorted(one.state for one in site.attempts(run)) == ["cancelled", "ok", "unknown"]
    assert sorted(row.held or 0 for row in site.find(Row, module_id=module.id)) == [1, 1, 2]
    assert site.dbmod("reconcile", "--all").code == 0
    site.settled = True
    assert sorted(row.held or 0 for row in site.find(Row, module_id=module.id)) == [1, 2, 2]
    figures.figure("R7", "PostgreSQL killed in mid-reapply: exit 3, one reconcile settled it, 0 attempts planned")
