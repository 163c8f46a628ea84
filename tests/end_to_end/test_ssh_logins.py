"""Promise R21: logins that fail, hosts that are others than they should be: named causes, no contents sent."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dbmod.records import Attempt, Instance
from tests import figures
from tests.beds.bed import Bed
from tests.beds.hosts import Host
from tests.beds.machines import LOGINS
from tests.end_to_end import canaries
from tests.end_to_end.sites import Site

pytestmark = pytest.mark.root
LIMIT_SECONDS = 15
KIB, MIB = 1 << 10, 1 << 20
PASSWORD = "right-9f2c"
STRANGER = "plain"  # a user who may log in, and whom no sudoers file names
TRIALS = 50
HANDSHAKE_LIMIT_BYTES = 16 * KIB  # what ssh itself sends until it knows the host's key
CHECK_KEY = "after you made sure that it is the right host: dbmod update {name} --accept-host-key"


@pytest.fixture(scope="module")
def machines(bed: Bed) -> Iterator[list[Host]]:
    with bed.borrow_hosts() as hosts:
        yield hosts.take(7)


@pytest.fixture(scope="module")
def guarded(machines: list[Host]) -> list[Host]:
    """Two hosts where sudo wants a password; the second has a user whom sudo refuses."""
    found = machines[:2]
    for host in found:
        host.run("chpasswd", text=f"{host.user}:{PASSWORD}\n")
        (host.root / "etc/sudoers.d/debian").write_text(f"{host.user} ALL=(ALL) ALL\n")
    add_user(found[1], STRANGER)
    return found


def add_user(host: Host, name: str) -> None:
    host.run("useradd", "--create-home", "--shell", "/bin/sh", name)
    host.run("chpasswd", text=f"{name}:{PASSWORD}\n")
    home, _ = LOGINS[host.user]
    host.run("cp", "-a", f"/{home}/.ssh", f"/home/{name}/.ssh")
    host.run("chown", "-R", f"{name}:{name}", f"/home/{name}/.ssh")


def messages(site: Site) -> dict[str, str]:
    """Give what is said of each instance of the last run, which must not have taken too long."""
    names = {one.id: one.name for one in site.find(Instance)}
    found = {}
    for one in site.attempts(site.last_run()):
        assert seconds_of(one) <= LIMIT_SECONDS
        found[names[one.instance_id]] = f"{one.state}: {one.message}"
    return found


def seconds_of(attempt: Attempt) -> float:
    assert attempt.started_at and attempt.ended_at
    return (attempt.ended_at - attempt.started_at).total_seconds()


def test_sudo_that_refuses_is_a_named_cause_and_nothing_ran(guarded: list[Host], site: Site) -> None:
    """No password, a wrong one, the right one; and a user who may not use sudo at all."""
    site.add_machines(guarded)
    site.add_machines(guarded[1:], name="stranger", user=STRANGER)
    site.add_module("mymod", b"message=Module.V1\n")
    words = ("module-apply", "--all", "--module", "mymod")
    asks = "unreachable: sudo asks for a password; next: give it with -K, or let become_password_file name a file"
    assert site.dbmod(*words).code == 4
    assert messages(site) == dict.fromkeys(("db-00", "db-01", "stranger-00"), asks)
    file = site.directory / "password"
    wrong = "unreachable: the password for sudo is wrong; next: give the right one with -K"
    file.write_text("wrong-1a2b\n")
    assert site.dbmod(*words, DBMOD_BECOME_PASSWORD_FILE=str(file)).code == 4
    assert messages(site) == dict.fromkeys(("db-00", "db-01", "stranger-00"), wrong)
    for host in guarded:
        assert not (host.root / "var/lib/dbmod").exists()
    file.write_text(f"{PASSWORD}\n")
    ended = site.dbmod(*words, DBMOD_BECOME_PASSWORD_FILE=str(file))
    assert ended.code == 1, ended.said
    assert messages(site) == {
        "db-00": "ok: Module.V1",
        "db-01": "ok: Module.V1",
        "stranger-00": "unreachable: sudo does not allow it; next: allow it in sudoers, or connect as root",
    }
    longest = max(seconds_of(one) for run in site.find(type(site.last_run())) for one in site.attempts(run))
    figures.figure("R21", f"sudo without a password, with a wrong one, not allowed: named; longest {longest:.1f} s")


def test_a_key_that_is_refused_or_locked_is_a_named_cause(machines: list[Host], site: Site) -> None:
    """A locked key would be asked for on a terminal, which runs have; nobody would answer."""
    refusing, well = machines[2:4]
    site.add_machines([refusing, well])
    site.add_module("mymod", b"message=Module.V1\n")
    home, _ = LOGINS[refusing.user]
    (refusing.root / home / ".ssh/authorized_keys").write_text("")
    refused = "unreachable: the login was refused; next: check the user and the key that the inventory names"
    assert site.dbmod("module-apply", "--all", "--module", "mymod").code == 1
    seen = messages(site)
    assert seen["db-01"] == "ok: Module.V1"
    assert seen["db-00"].startswith(refused)
    locked = site.directory / "locked"
    locked.write_bytes(well.key_file.read_bytes())
    locked.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", PASSWORD, "-f", str(locked)], check=True)
    ended = site.dbmod("module-query", "db-01", DBMOD_SSH_PRIVATE_KEY=str(locked))
    assert ended.code == 4, ended.said
    assert messages(site)["db-01"].startswith(refused)
    figures.figure("R21", f"key refused, key locked: named, no prompt; {longest_of(site):.1f} s")


def longest_of(site: Site) -> float:
    return max(seconds_of(one) for one in site.attempts(site.last_run()))


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """What reached a host: logins that its sshd accepted, bytes that came in by its network."""

    logins: int
    received_bytes: int


def sessions(host: Host) -> Sessions:
    journal = host.run("journalctl", "--unit=ssh", "--output=cat", "--no-pager").stdout
    [link] = json.loads(host.run("ip", "-json", "-statistics", "link", "show", "eth0").stdout)
    return Sessions(logins=journal.count("Accepted "), received_bytes=link["stats64"]["rx"]["bytes"])


def test_a_wrong_host_gets_no_contents(machines: list[Host], site: Site) -> None:
    """Its key changed; the fleet knows none; another host answers at the address. 50 instances, 1 MiB for each."""
    changed, unknown, other, well = machines[4], machines[5], machines[6], machines[3]
    site.add_machines([changed] * 17, name="changed")
    site.add_machines([unknown] * 17, name="unknown", host_keys=())
    site.add_machines([other] * 16, name="other", host_keys=well.host_keys)
    site.add_machines([well], name="well")
    changed.change_host_keys()
    secret = canaries.make("contents").text.encode()
    site.add_module("large", secret * (MIB // len(secret)), kind="blob")
    before = {host.name: sessions(host) for host in (changed, unknown, other)}
    ended = site.dbmod("module-apply", "--all", "--module", "large")
    assert ended.code == 1, ended.said
    seen = messages(site)
    assert seen.pop("well-00").startswith("ok: ")
    assert len(seen) == TRIALS
    causes = {
        "changed": "the host key is not the one that is known",
        "unknown": "the host key is not known",
        "other": "the host key is not the one that is known",
    }
    for name, message in seen.items():
        assert message == f"unreachable: {causes[name[:-3]]}; next: {CHECK_KEY.replace('{name}', name)}"
    received = 0
    for host in (changed, unknown, other):
        now = sessions(host)
        assert now.logins == before[host.name].logins
        assert not (host.root / "var/lib/dbmod").exists()
        received = max(received, (now.received_bytes - before[host.name].received_bytes) // 16)
    assert 0 < received <= HANDSHAKE_LIMIT_BYTES
    text = f"host key changed, unknown, another host's: {TRIALS} of {TRIALS} unreachable and named, 0 logins accepted"
    figures.figure("R21", f"{text}, at most {received} bytes of handshake each for contents of {MIB}")


def test_the_users_own_configuration_cannot_turn_the_check_off(machines: list[Host], site: Site) -> None:
    """Environment and arguments for ssh that say no to it: what dbmod gives ssh comes first."""
    site.add_machines([machines[4]], host_keys=machines[3].host_keys)
    site.add_module("mymod", b"message=Module.V1\n")
    loose = {"ANSIBLE_HOST_KEY_CHECKING": "False", "ANSIBLE_SSH_ARGS": "-o StrictHostKeyChecking=no"}
    passed = {"DBMOD_ENVIRONMENT_PASSED": json.dumps(list(loose))}
    assert site.dbmod("module-apply", "db-00", "mymod", **loose, **passed).code == 4
    assert "the host key is not the one that is known" in messages(site)["db-00"]
    assert site.playbook("module_apply", "-e", "instance=db-00", "-e", "modules=mymod", **loose).code == 2
    assert "the host key is not the one that is known" in messages(site)["db-00"]
    assert not Path(machines[4].root / "var/lib/dbmod").exists()
