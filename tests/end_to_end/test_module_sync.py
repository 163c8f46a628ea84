"""Modules as code by the command, by plain ansible-playbook and as AWX runs it; contents are seen nowhere."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dbmod import paths
from dbmod.records import Module, Run
from tests import figures
from tests.end_to_end import canaries
from tests.end_to_end.canaries import Hit
from tests.end_to_end.sites import BIN, Ended, Site, finish

pytestmark = pytest.mark.patient

OPEN, CLOSED, PASSWORD, WRONG = (canaries.make(name) for name in ("open", "closed", "password", "wrong password"))
ALL = (OPEN, CLOSED, PASSWORD, WRONG)
FILE = """name: "{{ 7 * 7 }} payments"
modules:
  - {name: open, type: blob, contents: contents/open, live_update: true, datastore: redis}
  - {name: closed, type: token, contents: contents/closed, description: "{{ 7 * 7 }}"}
  - {name: "{{ lookup('pipe', 'touch canary') }}", type: ping, contents: ping.dat}
"""
NAMES = ("open", "closed", "{{ lookup('pipe', 'touch canary') }}")
Made = Callable[..., Site]


class Team:
    """A team's git checkout, whose secret contents are encrypted; it lies outside of what is searched for canaries."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "team"
        self.vault = directory / "vault"
        self.password, self.wrong = directory / "password", directory / "wrong"
        self.password.write_text(PASSWORD.text)
        self.wrong.write_text(WRONG.text)
        (self.directory / "contents").mkdir(parents=True)
        (self.directory / "modules.yml").write_text(FILE)
        (self.directory / "ping.dat").write_text("message=Module.V1\n")
        (self.directory / "contents" / "open").write_text(OPEN.text)
        self.encrypt("closed", CLOSED.text)
        self.git("init", "-q")
        self.commit()

    def encrypt(self, name: str, text: str) -> None:
        words = ["encrypt", "--vault-id", f"prod@{self.password}", "--output", str(self.directory / "contents" / name)]
        subprocess.run([BIN / "ansible-vault", *words], input=text.encode(), check=True, capture_output=True)

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=self.directory, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", ".")
        self.git("commit", "-q", "-m", "one more")
        return self.git("rev-parse", "HEAD")

    def playbook(self, site: Site, *words: str) -> Ended:
        """Run the playbook from the team's checkout, as somebody without our command does."""
        program = [str(BIN / "ansible-playbook"), str(paths.playbook("module_sync")), "-e", "file=modules.yml"]
        process = subprocess.Popen(
            [*program, *words],
            cwd=self.directory,
            env=site.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return finish(process)


class Searched:
    """All that was printed, and everything below a site, where its user's temporary directories are too."""

    def __init__(self, site: Site) -> None:
        self.site, self.started = site, time.time()
        self.count = 0
        person = site.directory / "person"
        person.mkdir()
        site.environment |= {"HOME": str(person), "TMPDIR": str(person)}

    def hits(self, ended: Ended) -> list[Hit]:
        self.count += 1
        return canaries.in_text(ended.said, ALL, where="output") + canaries.in_files(
            self.site.directory, ALL, since=self.started - 1
        )


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def registry(site: Site) -> list[dict[str, Any]]:
    """Give what is registered, but for ids and times."""
    found = [msgspec.to_builtins(one) for one in site.find(Module, deleted_at=None)]
    for one in found:
        for document in (one, *one["versions"]):
            for field in ("id", "created_at", "updated_at"):
                document.pop(field, None)
    return sorted(found, key=lambda one: str(one["name"]))


def test_command_and_playbook_do_the_same_and_a_second_time_nothing(make_site: Made, team: Team) -> None:
    vault = ("--vault-id", f"prod@{team.password}")
    by_command, by_playbook = make_site(), make_site()
    file = str(team.directory / "modules.yml")
    reason = "ticket {{ 7 * 7 }}"
    for check in (True, False):
        words = ("--check",) if check else ()
        told = by_command.well("module-sync", file, *vault, "--reason", reason, "-f", "json", *words).json()
        assert [(one["Name"], one["Action"]) for one in told] == [(name, "create") for name in NAMES]
        ended = team.playbook(by_playbook, *vault, "-e", json.dumps({"reason": reason}), *words)
        assert ended.code == 0, ended.said
        assert "changed=1" in ended.out
        assert f"create {NAMES[2]} (ping, all), md5 7f700cc7b99606615f8b51946f6d3228" in ended.out
        assert bool(registry(by_playbook)) is bool(registry(by_command)) is not check
    assert registry(by_playbook) == registry(by_command)
    assert {one.reason for one in by_playbook.find(Run)} == {reason}
    [source] = {version["source"]["revision"] for one in registry(by_command) for version in one["versions"]}
    assert source == team.git("rev-parse", "HEAD")
    assert not (team.directory / "canary").exists()
    for site in (by_command, by_playbook):
        closed = site.module("closed")
        assert site.context.store.read_contents(closed.id, 1) == CLOSED.text.encode()
        assert site.context.store.read_contents(site.module("open").id, 1) == OPEN.text.encode()
    serials = [site.context.store.snapshot().serial for site in (by_command, by_playbook)]
    again = by_command.well("module-sync", file, "--vault-id", f"prod@{team.password}", "-f", "json").json()
    assert {one["Action"] for one in again} == {"unchanged"}
    ended = team.playbook(by_playbook, *vault)
    assert (ended.code, "changed=0" in ended.out) == (0, True), ended.said
    assert [site.context.store.snapshot().serial for site in (by_command, by_playbook)] == serials


def test_another_commit_is_the_next_version_and_prune_deletes_what_is_gone(site: Site, team: Team) -> None:
    vault = ("--vault-id", f"prod@{team.password}")
    site.well("module-sync", str(team.directory / "modules.yml"), *vault)
    team.encrypt("closed", "another")
    (team.directory / "modules.yml").write_text("\n".join(FILE.splitlines()[:4]))
    commit = team.commit()
    ended = team.playbook(site, *vault)
    assert "undeclared {{ lookup" in ended.out
    versions = site.module("closed").versions
    assert [(one.number, one.source.revision == commit) for one in versions if one.source] == [(1, False), (2, True)]
    assert len(site.module("open").versions) == 1
    ended = team.playbook(site, *vault, "-e", "prune=true", "--limit", "localhost")
    assert "changed=1" in ended.out
    assert {one.name for one in site.find(Module, deleted_at=None)} == {"open", "closed"}


def test_it_is_done_once_under_any_limit_and_no_host_is_touched(site: Site, team: Team) -> None:
    site.add_hosts(2)
    site.environment["ANSIBLE_CONFIG"] = str(paths.content() / "ansible.cfg")
    for limit in ("all", "db-1"):
        inventory = ("-i", str(paths.content() / "inventory" / "dbmod.yml"), "--limit", limit)
        ended = team.playbook(site, "--vault-id", f"prod@{team.password}", *inventory)
        assert ended.code == 0, ended.said
        assert ended.out.count(f"{'create' if limit == 'all' else 'unchanged'} open (blob, redis)") == 1
    assert len(site.find(Module)) == len(NAMES)
    assert all(not any((site.directory / name).iterdir()) for name in ("db-0", "db-1"))


def test_canaries_are_found_nowhere_well_failing_and_under_awx(site: Site, team: Team) -> None:
    searched, file = Searched(site), str(team.directory / "modules.yml")
    right, wrong = (("--vault-id", f"prod@{one}") for one in (team.password, team.wrong))
    hits = []
    for words, code in (((), 2), (wrong, 2), ((*right, "--check"), 0), (right, 0)):
        ended = site.dbmod("module-sync", file, "--debug", *words)
        assert ended.code == code, ended.said
        hits += searched.hits(ended)
        ended = team.playbook(site, "-vvvv", "--diff", *words)
        assert ended.code == code, ended.said
        hits += searched.hits(ended)
    (site.types / "dbmod_bad.py").write_text((site.types / "dbmod_blob.py").read_text().replace("    pass", CRASH))
    team.encrypt("closed", f"{CLOSED.text} again")
    (team.directory / "modules.yml").write_text(FILE.replace("type: token", "type: bad"))
    for ended in (site.dbmod("module-sync", file, "--debug", *right), team.playbook(site, "-vvvv", *right)):
        assert (ended.code, "ValueError in bad's validate" in ended.said) == (2, True), ended.said
        hits += searched.hits(ended)
    assert site.module("closed").type == "token"
    ended = site.dbmod("module-sync", file, "--vault-id", "prod@prompt", stdin=f"{WRONG.text}\n".encode())
    assert "no password that was given opens it" in ended.err
    hits += searched.hits(ended)
    (team.directory / "modules.yml").write_text(FILE)
    hits += searched.hits(as_awx_runs_it(site, team))
    assert hits == []
    figures.figure("R15", f"0 hits of {len(ALL)} canaries in {searched.count} searches of module-sync")


CRASH = """    raise ValueError(contents)"""


def as_awx_runs_it(site: Site, team: Team) -> Ended:
    """Run it from a project without .git, with AWX's variables, and show that contents got through to the ledger."""
    private = site.directory / "awx"
    shutil.copytree(team.directory / "contents", private / "project" / "contents")
    (private / "project" / "contents" / "open").write_text("open")  # the project is searched too
    for name in ("modules.yml", "ping.dat"):
        shutil.copy(team.directory / name, private / "project" / name)
    (private / "inventory").mkdir()
    (private / "inventory" / "hosts").write_text("")
    (private / "env").mkdir()
    (private / "env" / "extravars").write_text(
        "file: !unsafe modules.yml\nprune: !unsafe ''\nreason: !unsafe ''\nawx_project_revision: 4f1c\n"
    )
    words = ["run", str(private), "-p", str(paths.playbook("module_sync")), "--cmdline"]
    process = subprocess.Popen(
        [str(BIN / "ansible-runner"), *words, f"--vault-id prod@{team.password} -u root -vvv"],
        env=site.environment | {"ANSIBLE_HOST_KEY_CHECKING": "False"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    ended = finish(process)
    assert ended.code == 0, ended.said
    assert list(private.glob("artifacts/*/job_events/*.json"))
    closed = site.module("closed")
    assert (closed.current.number, closed.current.source.revision if closed.current.source else "") == (2, "4f1c")
    assert site.context.store.read_contents(closed.id, 2) == f"{CLOSED.text} again".encode()
    return ended


def test_a_prompted_password_and_one_of_the_settings_open_it_too(site: Site, team: Team) -> None:
    file = str(team.directory / "modules.yml")
    site.well("module-sync", file, "--vault-id", "prod@prompt", "--check", stdin=f"{PASSWORD.text}\n".encode())
    script = team.directory.parent / "script"
    script.write_text(f"#!/bin/sh\ncat {team.password}\n")
    script.chmod(0o755)
    site.well("module-sync", file, DBMOD_VAULT_IDS=json.dumps([f"prod@{script}"]))
    assert site.context.store.read_contents(site.module("closed").id, 1) == CLOSED.text.encode()


@pytest.mark.parametrize("limit_bytes", [1, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_the_limit_is_of_the_contents_not_of_the_encrypted_file(site: Site, team: Team, limit_bytes: int) -> None:
    file, vault = str(team.directory / "modules.yml"), f"prod@{team.password}"
    (team.directory / "modules.yml").write_text("modules: [{name: a, type: blob, contents: contents/closed}]")
    given = {"DBMOD_CONTENTS_LIMIT_BYTES": str(limit_bytes)}
    for size_bytes, code in ((limit_bytes, 0), (limit_bytes + 1, 2)):
        team.encrypt("closed", "x" * size_bytes)
        ended = site.dbmod("module-sync", file, "--vault-id", vault, **given)
        assert ended.code == code, ended.said
    assert f"The contents are too large: {limit_bytes + 1} bytes" in ended.err
    assert site.module("a").current.size_bytes == limit_bytes
