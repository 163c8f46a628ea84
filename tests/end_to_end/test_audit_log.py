"""The changes of a ledger as a SIEM gets them: each one once, also by a reader that is killed and goes on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.end_to_end.sites import Site
from tests.faults import failpoints

CANARY = "canary-6f1d0c"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(one) for one in path.read_text().splitlines()] if path.exists() else []


def follow(site: Site, path: Path, after: str) -> subprocess.Popen[bytes]:
    """Start what the documentation has in a service: what is printed goes to the end of a file."""
    with path.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "dbmod", "audit-log", "--follow", "--after", after],
            cwd=site.directory,
            env=site.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.DEVNULL,
        )


def test_a_follower_gets_every_change_once_and_goes_on_where_it_was_killed(site: Site) -> None:
    site.add_hosts(3)
    path = site.directory / "audit.jsonl"
    follower = follow(site, path, "")
    site.add_module("mymod", f"message={CANARY}\n".encode())
    site.well("module-apply", "--all", "--module", "mymod", "--batch_size", "1", "--delay", "0", "--reason", "ticket 7")
    failpoints.until(lambda: lines(path), lambda found: bool(found) and found[-1]["event"] == "ended", "the run's end")
    follower.kill()
    follower.wait()
    site.well("hold", "db-1", "--reason", "backup")
    site.update_module("mymod", f"message={CANARY} 2\n".encode())
    follower = follow(site, path, lines(path)[-1]["cursor"])
    site.well("module-reapply", "mymod", "--delay", "0")
    failpoints.until(lambda: lines(path), lambda found: found[-1]["verb"] == "reapply", "the second run")
    failpoints.until(lambda: lines(path), lambda found: found[-1]["event"] == "ended", "its end")
    follower.kill()
    follower.wait()

    whole = site.well("audit-log").out
    assert path.read_text() == whole
    assert CANARY not in whole
    told = [(one["verb"], one["event"], one["instance"], one["from_version"], one["to_version"]) for one in lines(path)]
    assert told[:2] == [("module-create", "changed", None, None, 1), ("apply", "planned", None, None, None)]
    assert sorted(told[2:5]) == [("apply", "attempt", f"db-{number}", None, 1) for number in range(3)]
    assert [one for one in told if one[0] == "reapply" and one[1] == "attempt"] == [
        ("reapply", "attempt", "db-0", 1, 2),
        ("reapply", "attempt", "db-2", 1, 2),
    ]
    assert {one["reason"] for one in lines(path) if one["verb"] == "apply"} == {"ticket 7"}
    site.settled = True


def test_bad_cursors_tenants_and_readers_that_go_are_told_apart(site: Site) -> None:
    site.add_module("mymod", b"message=hello\n")
    ended = site.dbmod("audit-log", "--after", "soon")
    assert (ended.code, "is no cursor" in ended.err) == (2, True)
    ended = site.dbmod("audit-log", "--after", "99.1")
    assert (ended.code, "a backup was restored" in ended.err) == (2, True)
    ended = site.dbmod("audit-log", DBMOD_ADMIN="false")
    assert (ended.code, "You must be admin" in ended.err) == (2, True)
    follower = site.start("audit-log", "--follow")
    assert follower.stdout
    assert json.loads(follower.stdout.readline())["verb"] == "module-create"
    follower.stdout.close()
    site.update_module("mymod", b"message=hello again\n")
    assert follower.wait(timeout=60) == 0


def test_plans_pruning_and_changes_with_a_ledger_in_postgresql(team_site: Site) -> None:
    site = team_site
    site.add_hosts(2)
    site.add_module("mymod", b"message=one\n")
    site.update_module("mymod", b"message=two\n")
    words = ("module-apply", "--all", "--module", "mymod", "--delay", "0")
    site.well(*words, "--plan", "saved.plan")
    site.well("module-apply", "--from-plan", "saved.plan")
    site.well("module-prune", "mymod", "--keep", "1", "--yes")
    site.well("ledger-check")
    told = [json.loads(one) for one in site.well("audit-log").out.splitlines()]
    assert [(one["verb"], one["event"]) for one in told] == [
        ("module-create", "changed"),
        ("module-update", "changed"),
        ("apply", "planned"),
        ("apply", "attempt"),
        ("apply", "attempt"),
        ("apply", "ended"),
        ("module-prune", "changed"),
    ]
    assert (
        site.well("audit-log", "--after", told[-2]["cursor"]).out == site.well("audit-log").out.splitlines()[-1] + "\n"
    )
    site.settled = True
