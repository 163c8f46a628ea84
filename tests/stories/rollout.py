"""A rollout as a story: fifty Redis servers reached by SSH, a Galera cluster of three, a Redis Cluster of six.

All are real.
A version that breaks its server meets the canary and is rolled back, a host dies, the good version goes everywhere; all
the time applications write. Needs root.

python -m tests.stories.rollout [--hosts N] [--record FILE]
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import yaml

from dbmod import paths
from dbmod.demo import FLAVOR, Step, Story
from dbmod.demo import tell as tell_steps
from tests import ports, writers
from tests.beds.bed import Bed
from tests.beds.hosts import Host, Hosts
from tests.stories import recording

Applications = dict[str, writers.GaleraWriter | writers.RedisWriter]  # by what they write to
INVENTORY = "production.yml"
NAME = "redis-{:02}"
MEMBER = f"--instance=flavor={FLAVOR},volume=1"
# Adopted servers do not include dbmod's settings; this is what their owner adds, once.
INCLUDE = """\
- name: Let every adopted Redis read the settings that dbmod brings
  hosts: datastore_redis:&provider_ssh
  gather_facts: false
  tasks:
    - name: Make the directory
      ansible.builtin.file: {path: "/etc/dbmod/{{ dbmod_id }}", state: directory, mode: "0755"}
    - name: Begin with no settings
      ansible.builtin.copy: {dest: "/etc/dbmod/{{ dbmod_id }}/index.conf", content: "", force: false, mode: "0644"}
    - name: Include them
      ansible.builtin.lineinfile: {path: /etc/redis/redis.conf, line: 'include "/etc/dbmod/{{ dbmod_id }}/index.conf"'}
"""
SMOKE = """\
- name: Write, as the application does
  ansible.builtin.command: redis-cli set smoke 1
  register: written
  changed_when: false
  failed_when: written.stdout != "OK"
"""
REACHABLE = "s/^bind .*/bind 0.0.0.0/;s/^protected-mode .*/protected-mode no/"
FLEET = (
    Step(
        name="adopt",
        chapter="The fleet",
        command=f"dbmod adopt --inventory {INVENTORY} --group redis --datastore redis --yes -q",
        notice="Redis servers that somebody set up, as their own Ansible inventory says. Nothing on them is changed.",
    ),
    Step(
        name="galera",
        command=f"dbmod cluster-create shop mysql {{mysql}} {' '.join([MEMBER] * 3)} -q",
        notice="A Galera cluster of three, made by dbmod.",
    ),
    Step(
        name="cluster",
        command=f"dbmod cluster-create cache redis {{redis}} {' '.join([MEMBER] * 6)} -q",
        notice="A Redis Cluster of six.",
    ),
    Step(
        name="include",
        command="ansible-playbook include.yml",
        notice="Plain Ansible, with dbmod's inventory: adopted servers read dbmod's settings when their owner says so.",
    ),
)
FIRST = (
    Step(
        name="policy_1",
        chapter="A first version everywhere",
        command='echo "maxmemory-policy allkeys-lru" > policy.conf',
    ),
    Step(
        name="create_policy",
        command="dbmod module-create policy config policy.conf --datastore redis --live_update -f value -c md5",
    ),
    Step(
        name="apply_policy",
        command="dbmod module-apply --limit 'redis-*' --module policy --ramp --batch_size 20 --canary 0 --delay 0",
        notice="Batches of 1, 2, 4, 8 …: unless told otherwise the type `config` goes one by one, behind a canary.",
    ),
    Step(name="tuned_1", command='printf "[mysqld]\\nmax_connections=151\\n" > tuned.cnf'),
    Step(
        name="create_tuned",
        command="dbmod module-create tuned config tuned.cnf --datastore mysql --live_update -f value -c md5",
    ),
    Step(name="apply_tuned", command="dbmod module-apply --cluster shop --module tuned --canary 0 --delay 0"),
    Step(name="status_1", command="dbmod status"),
)
BROKEN = (
    Step(
        name="policy_2",
        chapter="A version that breaks",
        command='printf "maxmemory-policy allkeys-lru\\nmin-replicas-to-write 1\\n" > policy.conf',
        notice="Redis takes it. But these servers have no replicas: with it they refuse every write.",
    ),
    Step(name="update_policy_2", command="dbmod module-update policy --file policy.conf -f value -c md5"),
    Step(
        name="reapply_policy_2",
        command="dbmod module-reapply policy --canary 1 --after-host smoke.yml --on-failure rollback",
        ends_with=1,
        notice="One server had it, for as long as the check took. Then it had its earlier version back.",
    ),
    Step(name="versions", command="dbmod module-versions policy"),
    Step(
        name="tuned_2",
        command='printf "[mysqld]\\nmax_connections=151\\nwsrep_desync=ON\\n" > tuned.cnf',
        notice="The same for Galera: a member that is out of step with the others on purpose.",
    ),
    Step(name="update_tuned_2", command="dbmod module-update tuned --file tuned.cnf -f value -c md5"),
    Step(
        name="reapply_tuned_2",
        command="dbmod module-reapply tuned --include_clustered --canary 1 --gate --on-failure rollback",
        ends_with=1,
        notice="The gate waits until the member is in step, gives up, and the first version is back.",
    ),
)
GOOD = (
    Step(name="policy_3", command='echo "maxmemory-policy allkeys-lfu" > policy.conf'),
    Step(name="update_policy_3", command="dbmod module-update policy --file policy.conf -f value -c md5"),
    Step(
        name="reapply_policy_3",
        command="dbmod module-reapply policy --canary 1 --batch_size 25% --delay 0 --after-host smoke.yml "
        "--max_unreachable 2",
        ends_with=1,
        notice="The dead host is known, and in no batch. The canary is well. On a terminal dbmod asks now; in a script "
        "the run waits.",
    ),
    Step(
        name="resume_policy_3",
        command="dbmod run-resume $(dbmod run-list --limit 1 -f value -c ID)",
        ends_with=1,
        notice="A quarter of them at a time. The dead host is counted, and stops nobody.",
    ),
)
REPAIRED = (
    Step(
        name="reapply_rest",
        command="dbmod module-reapply policy --canary 0 --delay 0",
        notice="Only the one that has an older version.",
    ),
    Step(
        name="tuned_3",
        chapter="A restart, member by member",
        command='printf "[mysqld]\\nmax_connections=200\\nperformance_schema=ON\\n" > tuned.cnf',
        notice="performance_schema cannot be changed while the server runs.",
    ),
    Step(name="update_tuned_3", command="dbmod module-update tuned --file tuned.cnf -f value -c md5"),
    Step(
        name="reapply_tuned_3",
        command="dbmod module-reapply tuned --include_clustered --canary 0 --gate --delay 0",
        notice="Never two members of a cluster at once; the next one only when this one is in step again.",
    ),
    Step(
        name="apply_cluster",
        command="dbmod module-apply --cluster cache --module policy --canary 0 --gate --delay 0",
    ),
    Step(name="status_2", chapter="What dbmod knows afterwards", command="dbmod status"),
    Step(name="runs", command="dbmod run-list"),
    Step(name="history", command="dbmod history tuned"),
)
CLEAN_UP = (
    Step(name="delete_galera", command="dbmod cluster-delete shop --yes -q"),
    Step(name="delete_cluster", command="dbmod cluster-delete cache --yes -q"),
)


class Stopped(Exception):
    """A step did not end as the story expects."""


def tell(bed: Bed, count: int, told: recording.Recording) -> None:
    """Tell it on so many adopted hosts. Raises Stopped naming the step that did not end as it should."""
    with bed.borrow_hosts() as lent, tempfile.TemporaryDirectory(prefix="dbmod-rollout-") as place:
        Path(place).chmod(0o711)  # the local servers have users of their own, who have to get in
        told.text(f"Booting {count} machines, each with systemd, sshd and a Redis of its distribution …")
        hosts = _fleet(lent, count, Path(place))
        story = _story(Path(place))
        try:
            _follow(story, FLEET, told)
            with _applications(story, hosts) as applications:
                _follow(story, (*FIRST, *BROKEN), told)
                _with_a_dead_host(story, hosts, told)
                _follow(story, REPAIRED, told)
            _see_that_nothing_is_lost(applications, told)
        finally:
            for step in CLEAN_UP:
                story.carry_out(step.command, capture=True)


def _fleet(lent: Hosts, count: int, place: Path) -> list[Host]:
    """Boot hosts whose Redis may be reached from here, and write the inventory that their owner has."""
    hosts = lent.take(count)
    for host in hosts:
        host.run("sed", "-i", REACHABLE, "/etc/redis/redis.conf")
        host.run("systemctl", "start", "redis-server")
    path = lent.write_inventory(place / INVENTORY, hosts, ansible_become=True)
    group = yaml.safe_load(path.read_text())["all"]["children"]["hosts"]
    group["hosts"] = {NAME.format(number): known for number, known in enumerate(group["hosts"].values(), 1)}
    path.write_text(yaml.safe_dump({"all": {"children": {"redis": group}}}, sort_keys=False))
    (place / "include.yml").write_text(INCLUDE)
    (place / "smoke.yml").write_text(SMOKE)
    return hosts


def _story(place: Path) -> Story:
    story = Story(place)
    story.environment |= {
        "ANSIBLE_CONFIG": str(paths.content() / "ansible.cfg"),
        "ANSIBLE_INVENTORY": f"{INVENTORY},{paths.content() / 'inventory' / 'dbmod.yml'}",
        "DBMOD_LOCAL_DIRECTORY": str(place / "local"),
        "DBMOD_LOCAL_PORTS": ports.own(),
        "COLUMNS": "150",
    }
    return story


def _follow(story: Story, steps: Sequence[Step], told: recording.Recording) -> None:
    if failed := tell_steps(story, steps, told):
        raise Stopped(failed)


def _with_a_dead_host(story: Story, hosts: Sequence[Host], told: recording.Recording) -> None:
    which = len(hosts) // 2
    told.chapter("A good version, and a host that dies")
    told.text(f"The machine of {NAME.format(which + 1)} is frozen now: nothing on it answers.")
    hosts[which].freeze()
    try:
        _follow(story, GOOD, told)
    finally:
        hosts[which].thaw()
    told.text("It is back.")


@contextlib.contextmanager
def _applications(story: Story, hosts: Sequence[Host]) -> Iterator[Applications]:
    """Let three applications write; they have stopped at the end."""
    members = [_shown(story, f"shop-member-{number}") for number in (1, 2, 3)]
    statements = "; ".join(writers.STATEMENTS)
    story.carry_out(f'{members[0]["connect"]} -e "{statements}"', capture=True).check_returncode()
    member = _shown(story, "cache-member-1")
    password = (story.directory / "local" / str(member["id"]) / "etc" / "password").read_text().strip()
    with ExitStack() as stack:
        started = {
            "the fleet's Redis servers": writers.RedisWriter([writers.redis_server(host.address) for host in hosts]),
            "the Galera cluster": writers.GaleraWriter([int(str(one["port"])) for one in members]),
            "the Redis Cluster": writers.RedisWriter([writers.redis_cluster(int(str(member["port"])), password)]),
        }
        for writer in started.values():
            stack.callback(writer.stop)
        yield started


def _shown(story: Story, name: str) -> dict[str, object]:
    return msgspec.json.decode(story.ask("show", name, "-f", "json"), type=dict[str, object])


def _see_that_nothing_is_lost(applications: Applications, told: recording.Recording) -> None:
    told.chapter("The applications")
    for name, writer in applications.items():
        lost = writer.lost()
        gap = f"at most {writer.longest_gap_seconds:.1f} s without one"
        told.text(f"{name}: {len(writer.acknowledged)} writes acknowledged, {gap}, {len(lost)} lost.")
        if lost or not writer.acknowledged:
            raise Stopped(f"{name}: lost {lost[:10]} of {len(writer.acknowledged)}")


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stories.rollout", description=__doc__)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--record", type=Path, help="write what was told to a Markdown file")
    arguments = parser.parse_args(words)
    began = time.monotonic()
    told = recording.Recording()
    try:
        with contextlib.closing(Bed()) as bed:
            tell(bed, arguments.hosts, told)
    except (Stopped, subprocess.CalledProcessError) as error:
        told.text(f"The story stopped: {error}")
        return 1
    told.text(f"The whole story took {time.monotonic() - began:.0f} seconds on {os.cpu_count()} processors.")
    if arguments.record:
        told.write(arguments.record)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
