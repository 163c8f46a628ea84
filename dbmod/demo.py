"""The whole guide on real servers, as a story: each command, what it prints, a line of what to notice.

`make demo`, `make demo-openstack` and `dbmod demo` tell it; tests/end_to_end/test_guide.py runs the same steps and
checks every table.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from dbmod import config, errors, providers
from dbmod.cli import output

PLAIN = "\033[0m"
FLAVOR = "15"  # as the guide has it
FLAVOR_RAM_MIB = 512
FIRST_MD5 = "7f700cc7b99606615f8b51946f6d3228"
SECOND_MD5 = "ba7c204979c8de54be6efb70a17d40b9"
THIRD_MD5 = "869744bdd18e306a96c145df562065ab"
FOURTH_MD5 = "6e2c81c1547d640b4c6e7752ed0e33ab"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One command of the guide.

    name       how the test calls it
    command    as typed; {mysql} {redis} {flavor} {member} {connect} are filled in; `echo … > file` and dbmod commands
    notice     what to look at in the output
    chapter    begins a new part of the story
    ends_with  its exit code
    """

    name: str
    command: str
    notice: str = ""
    chapter: str = ""
    ends_with: int = 0


COUNT = "dbmod module-instance-count mymod --include_clustered"

STEPS = (
    Step(
        name="contents_1",
        chapter="A module on a MySQL instance",
        command='echo "message=Module.V1" > ping1.dat',
        notice="A module's contents are a file. `ping` is the type for trying things out.",
    ),
    Step(
        name="create_module",
        command="dbmod module-create mymod ping ping1.dat --live_update --datastore mysql",
        notice="Registered, on no host yet. The md5 names the version.",
    ),
    Step(
        name="create_myinst",
        command="dbmod create myinst {flavor} --size 1 --module mymod --datastore mysql",
        notice="A real MariaDB or MySQL server, with the module applied once it answered.",
    ),
    Step(name="query_myinst", command="dbmod module-query myinst", notice="The host itself was asked."),
    Step(name="count_1", command="dbmod module-instance-count mymod", notice="One instance, on the current version."),
    Step(name="instances", command="dbmod module-instances mymod"),
    Step(
        name="contents_2",
        chapter="A second version, and a Redis Cluster",
        command='echo "message=Module.V2" > ping2.dat',
    ),
    Step(
        name="update_2",
        command="dbmod module-update mymod --file ping2.dat",
        notice="Another md5: a new version. The first one is kept.",
    ),
    Step(
        name="all_datastores",
        command="dbmod module-update mymod --all_datastores",
        notice="The module was bound to mysql; the redis steps need it for all datastores.",
    ),
    Step(
        name="create_cluster",
        command="dbmod cluster-create myclust redis {redis} --instance=flavor={flavor},volume=1,module=mymod "
        "--instance=flavor={flavor},volume=1,module=mymod --instance=flavor={flavor},volume=1,module=mymod",
        notice="Three real Redis servers, joined to a Redis Cluster.",
    ),
    Step(
        name="cluster_state", command="{connect} cluster info", notice="cluster_state:ok, and all 16384 slots served."
    ),
    Step(
        name="count_2",
        command="dbmod module-instance-count mymod",
        notice="Without --include_clustered: only myinst, which still holds the first version.",
    ),
    Step(name="count_2_clustered", command=COUNT, notice="The members got the second version."),
    Step(name="contents_3", command='echo "message=Module.V3" > ping3.dat'),
    Step(name="update_3", command="dbmod module-update mymod --file ping3.dat"),
    Step(name="count_3", command=COUNT, notice="Nobody is current now."),
    Step(
        name="cluster_instances",
        chapter="One member first",
        command="dbmod cluster-instances myclust",
    ),
    Step(name="apply_member", command="dbmod module-apply {member} mymod", notice="One member, by its id."),
    Step(name="count_member", command=COUNT),
    Step(
        name="create_myinst_2",
        command="dbmod create myinst_2 {flavor} --size 1 --module mymod",
        notice="Redis is the default datastore here.",
    ),
    Step(name="contents_4", command='echo "message=Module.V4" > ping4.dat'),
    Step(name="update_4", command="dbmod module-update mymod --file ping4.dat"),
    Step(name="list", command="dbmod list"),
    Step(name="count_4", command=COUNT, notice="Three versions on five instances, none current."),
    Step(
        name="reapply_md5",
        chapter="Rolling the current version out",
        command=f"dbmod module-reapply mymod --md5={THIRD_MD5} --include_clustered",
        notice="Only the two that held that version.",
    ),
    Step(name="count_reapplied", command=COUNT),
    Step(
        name="reapply_force",
        command=f"dbmod module-reapply mymod --md5={FOURTH_MD5} --include_clustered --force",
        notice="--force: again, though they are current; only their dates move.",
    ),
    Step(name="count_forced", command=COUNT),
    Step(
        name="reapply_slowly",
        command="dbmod module-reapply mymod --include_clustered --batch_size=1 --delay=3",
        notice="One at a time, three seconds between.",
    ),
    Step(name="count_end", command=COUNT, notice="All five on the current version."),
    Step(
        name="history",
        chapter="What dbmod knows afterwards",
        command="dbmod history mymod",
        notice="Who did what where, in which run; the times of the last run are three seconds apart.",
    ),
    Step(name="runs", command="dbmod run-list"),
    Step(name="check", command="dbmod ledger-check", notice="Every byte of the ledger is what was written."),
)
CLEAN_UP = (
    Step(name="delete_myinst", chapter="Cleaning up", command="dbmod delete myinst --yes"),
    Step(name="delete_myinst_2", command="dbmod delete myinst_2 --yes"),
    Step(name="delete_cluster", command="dbmod cluster-delete myclust --yes"),
)


class Story:
    """A run of the guide in a home and a directory of its own.

    environment  what its commands see; DBMOD_HOME is the story's own
    """

    def __init__(self, directory: Path, *, provider: str = "local") -> None:
        self.directory = directory
        self.provider = provider
        loaded = config.load()
        self.settings = msgspec.structs.replace(loaded.settings, provider=provider)
        chosen = {f"DBMOD_{key.upper()}": text for key, text in _provider_settings(loaded, provider).items()}
        known = {name: value for name, value in os.environ.items() if not name.startswith("DBMOD_")}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        own = {"DBMOD_HOME": str(directory / "home"), "DBMOD_PROVIDER": provider, "PATH": path}
        self.environment = known | chosen | own

    def version(self, datastore: str) -> str:
        return providers.check_version(self.settings, self.provider, datastore, None)

    def flavor(self) -> str:
        """Give the guide's own flavor, or the smallest that has as much memory. Raises Refused where there is none."""
        known = providers.hooks(self.provider).flavors(self.settings)
        if FLAVOR in known:
            return FLAVOR
        large = [(one.ram_mib, key) for key, one in known.items() if one.ram_mib >= FLAVOR_RAM_MIB]
        if not large:
            raise errors.Refused(f"no flavor has {FLAVOR_RAM_MIB} MiB of memory", next_step="dbmod flavor-list")
        return min(large)[1]

    def command(self, step: Step) -> str:
        """Fill in what only a run knows: the installed version, a member's id, how to connect."""
        text = step.command
        fillings: dict[str, Callable[[], str]] = {
            "{mysql}": lambda: self.version("mysql"),
            "{redis}": lambda: self.version("redis"),
            "{flavor}": self.flavor,
            "{member}": lambda: str(self.ask("show", "myclust-member-2", "-f", "value", "-c", "id")),
            "{connect}": lambda: str(self.ask("show", "myclust-member-1", "-f", "value", "-c", "connect")),
        }
        for mark, fill in fillings.items():
            if mark in text:
                text = text.replace(mark, fill())
        return text

    def shell(self, command: str) -> list[str]:
        """Give the words that run one command line as typed, with this dbmod."""
        here = {"dbmod": f"{shlex.quote(sys.executable)} -m dbmod"}
        first, _, rest = command.partition(" ")
        return ["/bin/sh", "-c", f"{here.get(first, first)} {rest}"]

    def carry_out(self, command: str, *, capture: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.shell(command),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=capture,
            text=True,
            check=False,
        )

    def ask(self, *words: str) -> str:
        answer = self.carry_out(shlex.join(["dbmod", *words]), capture=True)
        if answer.returncode != 0:
            raise errors.Failed(f"dbmod {shlex.join(words)} failed: {answer.stderr.strip()[-500:]}")
        return answer.stdout.strip()


class Teller(Protocol):
    """Whoever a story is told by."""

    def chapter(self, title: str) -> None: ...

    def command(self, words: str) -> None: ...

    def carry_out(self, story: Story, command: str) -> int:
        """Let a command print what it prints. Returns its exit code."""

    def text(self, said: str) -> None: ...


def main(*, provider: str = "local", keep: bool = False) -> int:
    """Tell the whole guide. Returns the exit code.

    provider  where its instances come from
    keep      leave the servers and the ledger, and say how to use them
    """
    started = time.monotonic()
    story = Story(Path(tempfile.mkdtemp(prefix="dbmod-demo-")), provider=provider)
    try:
        mysql, redis = story.version("mysql"), story.version("redis")
    except errors.DbmodError:
        shutil.rmtree(story.directory)
        raise
    _say(
        f"The OpenStack Trove module guide on {providers.describe(provider).title}: mysql {mysql} and redis {redis} "
        f"stand for the versions it names.\nEverything is below {story.directory}."
    )
    try:
        failed = tell(story, STEPS, _Terminal())
    except KeyboardInterrupt:
        failed = "interrupted"
    except errors.DbmodError as error:
        failed = error.what
    if keep:
        _say(f"The servers run on. Use them with: export DBMOD_HOME={story.environment['DBMOD_HOME']}")
    else:
        failed = failed or tell(story, CLEAN_UP, _Terminal())
        failed = _leave_nothing(story) or failed
    if failed:
        output.error([f"The guide stopped at: {failed}"])
        return errors.Failed.exit_code
    _say(f"The whole guide: {len(STEPS)} steps in {time.monotonic() - started:.0f} seconds.")
    return 0


def _provider_settings(loaded: config.Loaded, provider: str) -> dict[str, str]:
    """Give what was configured of a provider, also in a file that a story's own directory hides."""
    values = msgspec.to_builtins(loaded.settings)
    keys = [key for key in values if key.startswith((f"{provider}_", "ssh_")) and loaded.sources[key] != "default"]
    return {
        key: values[key] if isinstance(values[key], str) else msgspec.json.encode(values[key]).decode() for key in keys
    }


def _leave_nothing(story: Story) -> str:
    """Delete what a story that stopped early has left. Returns "" when the servers are gone, with all their files."""
    for kind, delete in (("cluster-list", "cluster-delete"), ("list", "delete")):
        for identifier in story.ask(kind, "-f", "value", "-c", "ID").split():
            story.carry_out(f"dbmod {delete} {identifier} --yes")
    if story.ask("list", "--include_clustered", "-f", "value", "-c", "ID"):
        return f"cleaning up. What is left: DBMOD_HOME={story.environment['DBMOD_HOME']} dbmod list --include_clustered"
    shutil.rmtree(story.directory, ignore_errors=True)
    return ""


def tell(story: Story, steps: Sequence[Step], teller: Teller) -> str:
    """Carry steps out, one after the other. Returns which did not end as it should, and how; "" when all did."""
    for step in steps:
        if step.chapter:
            teller.chapter(step.chapter)
        command = story.command(step)
        teller.command(command)
        code = teller.carry_out(story, command)
        if code != step.ends_with:
            return f"{command} (it ended with {code}, not {step.ends_with})"
        if step.notice:
            teller.text(step.notice)
    return ""


class _Terminal:
    """Tells on the terminal, where the commands print too."""

    def chapter(self, title: str) -> None:
        _say(f"\n{title}\n{'=' * len(title)}", bold=True)

    def command(self, words: str) -> None:
        _say(f"\n$ {words}", bold=True)

    def carry_out(self, story: Story, command: str) -> int:
        return story.carry_out(command).returncode

    def text(self, said: str) -> None:
        _say(f"    {said}", faint=True)


def _say(text: str, *, bold: bool = False, faint: bool = False) -> None:
    colour = ("\033[1m" if bold else "\033[2m" if faint else "") if output.has_colour(sys.stdout) else ""
    output.text(f"{colour}{text}{colour and PLAIN}\n")
    output.finish()
