"""Carrying out a run with ansible-runner; the only file that knows it.

What happened is read from the ledger, which the playbook itself writes; events are only for display.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from dbmod import errors, host_call, ledger, logins, paths, processes, rollouts, run_directory, ssh_trouble
from dbmod.context import Context
from dbmod.failpoints import failpoint
from dbmod.records import CHANGING_INSTANCES, Attempt, Run
from dbmod.store import durable
from dbmod.store.interface import Tables

DOORS = ("dbmod_plan", "dbmod_gate", "dbmod_apply", "dbmod_record")  # told in their own way
QUIET = (
    *DOORS,
    *("dbmod_host", "debug", "include_role", "include_tasks", "set_fact", "meta", "validate_argument_spec"),
    *("assert", "stat"),
)
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # a closed terminal stops after the batch in flight, too
STOP_PATIENCE_SECONDS = 5
POLL_SECONDS = 0.5


class Progress(Protocol):
    """Who is told how a run goes on."""

    def start(self, run: Run, hosts: Mapping[str, str], attempts: Sequence[Attempt]) -> None:
        """hosts: instance id → instance name."""

    def batch(self, number: int, of: int, hosts: Sequence[str]) -> None: ...

    def host(self, name: str, state: str, message: str) -> None: ...

    def step(self, name: str, task: str, *, done: bool) -> None:
        """Told when a task begins on a host, and again when it is done; one that is skipped is never done."""

    def note(self, text: str) -> None: ...

    def stop(self) -> None: ...


def carry_out(
    context: Context, run: Run, *, progress: Progress, verbosity: int = 0, login: logins.Login | None = None
) -> Run:
    """Run a planned run's playbook in the foreground. Every way out leaves the run closed.

    verbosity  0: only progress; 1 and more: Ansible's own output on standard error, as with -v
    login      what was given to log in with; the settings may add to it
    Returns    the closed run, as the ledger has it
    """
    stop = _Stop(context, run, progress)
    with stop.handlers():  # from the first moment on: the run is in the ledger already
        return _carry_out(context, run, stop, verbosity=verbosity, login=login or logins.Login())


def _carry_out(context: Context, run: Run, stop: "_Stop", *, verbosity: int, login: logins.Login) -> Run:
    try:
        directory = run_directory.make(context, run.id)
    except (OSError, errors.DbmodError) as error:
        _close(context, run, "its directory could not be made")
        if isinstance(error, OSError):
            raise durable.unwritable(error, context.settings.home_path / "runs", needed_bytes=0) from error
        raise
    trouble = ""
    try:
        display = _Display(context, run, stop.progress)
        _refuse_unreadable_contents(context, run)
        with run_directory.environment(context, directory):
            trouble = _run_playbook(
                run,
                directory,
                display,
                stop,
                sources=run_directory.inventories(context, run, directory),
                arguments=logins.arguments(login, context.settings, directory),
                forks=context.settings.forks,
                verbosity=verbosity,
            )
            if stop.was_at_once:
                trouble = f"stopped at once by {context.actor.name}"
    finally:
        with suppress(OSError):
            stop.progress.stop()
        closed = _close(context, run, trouble)
        shutil.rmtree(directory, ignore_errors=True)
    return closed


def detach(context: Context, run: Run) -> Path:
    """Start carrying out a run in a session of its own. Returns the file its output goes to."""
    log = run_directory.parent(context) / f"{run.id}.log"
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
        subprocess.Popen(
            [sys.executable, "-m", "dbmod", "run-execute", run.id],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return log


def wait(context: Context, run_id: str, *, timeout_seconds: float | None = None) -> Run:
    """Wait until a run has ended. Raises Failed when it takes longer than the timeout."""
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while True:
        ledger.sweep(context.store)
        run = context.store.snapshot().get(Run, run_id)
        if run is None or not run.is_open or run.state == "paused":
            return run or ledger.open_run(context.store.snapshot(), run_id)
        if deadline is not None and time.monotonic() > deadline:
            raise errors.Failed(f"The run {run_id} has not ended: {run.state}.", next_step=f"dbmod run-wait {run_id}")
        time.sleep(POLL_SECONDS)


class _Display:
    """Turns ansible-runner's events into progress. An exception here would lose the run, so none leaves."""

    def __init__(self, context: Context, run: Run, progress: Progress) -> None:
        tables = context.store.snapshot()
        self.progress = progress
        hosts = run_directory.hosts_of(context, run)
        bearers = Counter(instance.name for instance in hosts.values())
        self.names = {
            host: one.name if bearers[one.name] == 1 else f"{one.name} ({one.id})" for host, one in hosts.items()
        }
        self.batches = len(run.batch_sizes)
        self.is_about_instances = run.verb in CHANGING_INSTANCES
        self.last_error = ""
        self.failures: list[str] = []
        self.sealed: set[str] = set()  # hosts of which it was told
        claimed = {one.id: self.names[host] for host, one in hosts.items()}
        self.names |= claimed  # one that is deleted has no host name any more: dbmod_record names it by its id
        progress.start(run, claimed, tables.find(Attempt, run_id=run.id))

    def event(self, data: dict[str, Any]) -> bool:
        """Show one event. Returns False: it need not be kept on disk."""
        try:
            self._show(str(data.get("event", "")), data.get("event_data") or {})
            if data.get("event") in ("error", "warning", "verbose"):
                self.last_error = " ".join(str(data.get("stdout", "")).split())[-500:] or self.last_error
        except OSError:
            pass  # the terminal is gone; the run is not
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.progress.note(f"an event could not be shown ({type(error).__name__})")
        return False

    def _show(self, kind: str, data: dict[str, Any]) -> None:
        result = data.get("res") or {}
        host = self.names.get(str(data.get("host", "")), str(data.get("host", "")))
        action = str(data.get("task_action", "")).rpartition(".")[2]
        task = str(data.get("task", "")).rpartition(" | ")[2]  # without the file that it stands in
        said = str(result.get("msg", ""))
        if kind == "runner_on_failed" and not data.get("ignore_errors"):
            self.last_error = f"{task}: {said}"
            self.failures.append(self.last_error)
            self._tell_sealed(host, said)
        if kind == "runner_on_unreachable":
            self.last_error = f"{task}: {ssh_trouble.explain(said, name=host)}"
        if action == "dbmod_gate" and kind == "runner_on_ok" and not result.get("stop"):
            self.progress.batch(
                int(result["batch"]), self.batches, [self.names.get(one, one) for one in result["hosts"]]
            )
        elif action == "dbmod_way_back" and kind == "runner_on_ok" and result["plan"]["run"]:
            self.batches = len(result["plan"]["batch_sizes"])
            self.progress.note(f"too much failed: run {result['plan']['run']} puts back what was changed")
        elif action == "dbmod_record" and kind == "runner_on_ok":
            self.batches = len(result.get("plan", {}).get("batch_sizes", ())) or self.batches
            for line in result.get("lines", []):
                self.progress.host(
                    self.names.get(str(line["instance"]), str(line["instance"])),
                    str(line["state"]),
                    str(line["message"]),
                )
        elif kind in ("runner_on_start", "runner_on_ok") and self.is_about_instances and action not in QUIET:
            self.progress.step(host, task, done=kind == "runner_on_ok")

    def _tell_sealed(self, host: str, said: str) -> None:
        """Name a cause that no door sees: a task whose connection cannot be prepared ends before its plugin begins."""
        if ssh_trouble.is_sealed(said) and host not in self.sealed:
            self.sealed.add(host)
            self.progress.note(f"{host}: {ssh_trouble.explain(said, name=host)}")


class _Stop:
    """Ctrl-C: the first asks the run to stop after the batch in flight, the second stops it now."""

    def __init__(self, context: Context, run: Run, progress: Progress) -> None:
        self.context = context
        self.run = run
        self.progress = progress
        self.was_at_once = False
        self.asked = 0
        self.answered = 0

    @contextmanager
    def handlers(self) -> Iterator[None]:
        def note_signal(_number: int, _frame: FrameType | None) -> None:
            self.asked += 1

        before = {number: signal.signal(number, note_signal) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def now(self) -> bool:
        """Tell ansible-runner whether to end the playbook now; called every second and at each output."""
        if self.asked > self.answered:
            self.answered += 1
            if self.answered == 1:
                self._after_this_batch()
            else:
                self.was_at_once = True
                self._end_playbook()
                return True
        return False

    def _after_this_batch(self) -> None:
        try:
            with self.context.store.transaction(holder="stop") as tables:
                ledger.request_stop(tables, _present(tables, self.run).id, by=self.context.actor.name)
            self._note("stopping when the hosts in flight are done; once more to stop now")
        except errors.DbmodError as error:
            self._note(f"the stop could not be asked for: {error.what}")

    def _note(self, text: str) -> None:
        with suppress(OSError):  # the terminal may be gone, which is why it stops
            self.progress.note(text)

    def _end_playbook(self) -> None:
        """SIGTERM first: with SIGKILL, which ansible-runner sends, the workers would run on to their end."""
        self._note("stopping now; what had started on a host and not answered will be `unknown`")
        owner = _present(self.context.store.snapshot(), self.run).owner
        if owner and owner.pid != os.getpid():
            processes.stop(owner, wait_seconds=STOP_PATIENCE_SECONDS)


def _present(tables: Tables, run: Run) -> Run:
    """Give the run that the playbook works on now: once there is one, that which puts back what the first changed."""
    later = [one for one in rollouts.followers(tables, run.id) if one.is_open]
    return later[-1] if later else tables.get(Run, run.id) or run


def _refuse_unreadable_contents(context: Context, run: Run) -> None:
    """Refuse before any host is touched where contents are damaged or gone, or their key is. Raises LedgerError."""
    if host_call.VERBS.get(run.verb) != "apply":
        return
    wanted = {(one.module_id, one.number) for one in context.store.snapshot().find(Attempt, run_id=run.id)}
    for module_id, number in sorted(wanted):
        if module_id and number:
            try:
                context.store.read_contents(module_id, number)
            except errors.NotFound as error:
                raise errors.LedgerDamaged(error.what, next_step="dbmod ledger-check") from error


def _run_playbook(
    run: Run,
    directory: Path,
    display: _Display,
    stop: _Stop,
    *,
    sources: Sequence[str],
    arguments: Sequence[str],
    forks: int,
    verbosity: int,
) -> str:
    """Returns what went wrong with the playbook as a whole, "" where nothing did.

    sources    inventories; what a later one says of a host counts
    arguments  for Ansible, on its command line
    """
    import ansible_runner  # 85 ms, only for commands that run something

    if stop.asked:  # nothing has begun yet, and nothing has to
        stop.now()
        return f"stopped by {stop.context.actor.name}"
    result = ansible_runner.run(
        private_data_dir=str(directory),
        project_dir=str(paths.content()),
        playbook=str(paths.playbook(run.playbook)),
        inventory=list(sources),
        extravars={"dbmod_run": run.id},
        cmdline=shlex.join(arguments) or None,
        settings={"pexpect_timeout": 1, "suppress_ansible_output": not verbosity},
        forks=forks,
        verbosity=max(0, verbosity - 1),
        quiet=not verbosity,
        event_handler=display.event,
        cancel_callback=stop.now,
    )
    if result.rc == 0 or display.failures:
        return ""
    ended = "was killed" if result.rc is None else f"ended with {result.rc}"
    said = display.last_error or f"ansible-playbook {ended}"
    return ssh_trouble.explain(said, name="") if ssh_trouble.is_sealed(said) else said


def _close(context: Context, run: Run, trouble: str) -> Run:
    with context.store.transaction(holder=run.id) as tables:
        ledger.close(tables, _present(tables, run).id, message=trouble)
        closed = ledger.close(tables, run.id, message=trouble)
    failpoint("after_close")
    context.store.delete_contents(run.id)
    return closed
