"""One round trip to one host for a run: what it gets, what came back."""

import atexit
import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dbmod import (
    config,
    doors,
    errors,
    evidence,
    ledger,
    memory,
    module_types,
    names,
    providers,
    rollouts,
    ssh_trouble,
    transport,
    vault,
)
from dbmod.context import Context
from dbmod.evidence import Outcome
from dbmod.failpoints import FILE, NAME, failpoint
from dbmod.identity import Actor
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.store import durable
from dbmod.store.interface import Tables

VERBS: dict[str, transport.Verb] = {
    "apply": "apply",
    "reapply": "apply",
    "create": "apply",
    "grow": "apply",
    "rollback": "apply",
    "remove": "remove",
    "query": "query",
    "reconcile": "query",
    "retrieve": "retrieve",
}
DEFAULT_INTERPRETER = "/usr/bin/python3"
RETRIEVED_WEIGHT = 2  # what a host gives passes through Ansible as base64, in several copies: 6 times its size
TROUBLE_LIMIT = 500
FILE_NAME_LIMIT_BYTES = 255


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection gave back."""

    output: str
    trouble: str = ""  # why there is no output, or not all of it
    was_reached: bool = True  # a login came about


Send = Callable[[str, bytes], Reply]


def sender(plugin: Any) -> Send:
    """Give what sends through an action plugin's connection; a host that fails is an answer, never an exception."""
    from ansible.errors import AnsibleConnectionFailure, AnsibleError

    def send(command: str, data: bytes) -> Reply:
        try:
            reply = plugin._low_level_execute_command(command, in_data=data)  # noqa: SLF001  (Ansible's own way)
        except AnsibleConnectionFailure as error:
            return Reply(output="", trouble=str(error.message), was_reached=False)
        except AnsibleError as error:
            said = str(error.message)
            return Reply(output="", trouble=said if ssh_trouble.is_known(said) else type(error).__name__)
        return Reply(output=reply["stdout"], trouble=trouble_of(reply["rc"], reply["stderr"]))

    return send


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every host."""

    context: Context
    sources: dict[str, str]  # type → source, of all that are known


def beforehand() -> Ready | None:
    """Do once what is the same for every host. Called before Ansible forks its workers: each of them inherits it.

    Returns  for `carry_out`; None where the ledger cannot be used, which every host then has as its outcome
    """
    from dbmod.store import contents  # noqa: F401  (with what it imports)

    vault.get_ready()
    _load_plugins()
    try:
        ready = _ready()
        tables = ready.context.store.snapshot()
        tables.find(Module)
        tables.find(Attempt, run_id="none", instance_id="none")  # none, but then it is known how one is read
        tables.get(Run, "none")
        for provider in {one.provider for one in tables.find(Instance)}.intersection(providers.names()):
            providers.describe(provider)
    except errors.DbmodError:
        return None
    gc.freeze()  # all this stays: no collection has to look at it, here or in a worker
    atexit.register(gc.freeze)  # nor at what there is at the end
    return ready


def _ready() -> Ready:
    here = doors.context()
    return Ready(context=here, sources=module_types.sources(here.settings))


def _load_plugins() -> None:
    """Let Ansible find and import what it reaches hosts with; else every worker does so for itself."""
    from ansible.plugins.loader import become_loader, connection_loader, shell_loader

    for loader, name in ((connection_loader, "ssh"), (become_loader, "sudo"), (shell_loader, "sh")):
        loader.get(name, class_only=True)


def carry_out(run_id: str, variables: Mapping[str, Any], send: Send, *, ready: Ready | None = None) -> dict[str, Any]:
    """Do the work of a run on one host.

    variables  the host's, see doors.plain_host
    send       runs a shell command on the host with bytes on its standard input
    ready      what `beforehand` gave
    Returns    {"changed": bool, "outcome": an Outcome}; {"skipped": True} where nothing is left to do there.
               A request that cannot be made (contents or key missing) is an outcome too, so that it is recorded
    """
    try:
        return _carry_out(ready or _ready(), run_id, variables, send)
    except errors.DbmodError as error:
        refused = evidence.not_asked(str(variables["dbmod_id"]), transport.text(error.what), was_refused=True)
        return {"changed": False, "outcome": msgspec.to_builtins(refused)}
    except Exception as error:  # noqa: BLE001  the kind only: a text may hold contents; it may have started there
        began = transport.Answer(started=True, finished=False, results=())
        reason = f"internal error of dbmod ({type(error).__name__})"
        lost = Outcome(instance=str(variables["dbmod_id"]), answer=began, reason=reason)
        return {"changed": False, "outcome": msgspec.to_builtins(lost)}


def _carry_out(ready: Ready, run_id: str, variables: Mapping[str, Any], send: Send) -> dict[str, Any]:
    here = ready.context
    tables = here.store.snapshot()
    run = ledger.open_run(tables, run_id)
    attempts = [
        one
        for one in tables.find(Attempt, run_id=run_id, instance_id=str(variables["dbmod_id"]))
        if one.state == "planned" and one.batch > 0
    ]
    if not attempts:
        return {"skipped": True, "changed": False}
    modules = [_module_of(tables, one) for one in sorted(attempts, key=lambda one: one.order) if one.module_id]
    request = _request(here, tables, run, variables, modules)
    failpoint("before_send")
    with memory.lent(here.settings.home_path / "runs" / "memory", _size_bytes(tables, run, request, modules)):
        reply = send(transport.command(interpreter(variables)), _frame(ready, request, modules))
    failpoint("after_send")
    limit = transport.ANSWER_LIMIT_BYTES + (4 * config.MIB * 64 if run.verb == "retrieve" else 0)
    said = f"{reply.output}\n{reply.trouble}" if reply.trouble else reply.output  # no copy of what may be 85 MiB
    answer = transport.read_answer(said, run.id, limit_bytes=limit)
    if run.verb == "retrieve":
        answer = _kept(here, tables, run, answer)
    name = _name_of(tables, variables)
    if not answer.started and ssh_trouble.was_cut(reply.trouble):
        answer = msgspec.structs.replace(answer, started=True)  # the bytes were on their way: nobody knows how far
    explained = ssh_trouble.explain_cut if answer.started else ssh_trouble.explain
    reason = transport.text(answer.problem or (explained(reply.trouble, name=name) if reply.trouble else ""))
    outcome = Outcome(instance=str(variables["dbmod_id"]), answer=answer, reason=reason)
    return {"changed": any(one.changed for one in answer.results), "outcome": msgspec.to_builtins(outcome)}


def _name_of(tables: Tables, variables: Mapping[str, Any]) -> str:
    instance = tables.get(Instance, str(variables["dbmod_id"]))
    return instance.name if instance else str(variables["dbmod_id"])


def trouble_of(exit_code: int, error_output: str) -> str:
    """Say in a line why a command on the host failed; "" where it did not."""
    lines = [line for line in error_output.splitlines() if line.strip() and not line.startswith("dbmod-")]
    if exit_code == 0:
        return ""
    return (lines[-1] if lines else f"the command on the host ended with {exit_code}")[:TROUBLE_LIMIT]


def _module_of(tables: Tables, attempt: Attempt) -> tuple[Module, Attempt]:
    module = tables.get(Module, attempt.module_id)
    if module is None:
        raise errors.LedgerDamaged(f"The run {attempt.run_id} names a module that is not in the ledger.")
    return module, attempt


def _request(
    here: Context, tables: Tables, run: Run, variables: Mapping[str, Any], modules: list[tuple[Module, Attempt]]
) -> transport.Request:
    wanted = os.environ.get(NAME)
    return transport.Request(
        run=run.id,
        serial=run.serial,
        verb=VERBS[run.verb],
        modules=tuple(_module_request(run, module, attempt) for module, attempt in modules),
        check=bool(run.options.get("check")),
        follows=rollouts.gone_on_with(tables, run),
        baseline=bool(run.options.get("baseline")),
        time_limit_seconds=here.settings.type_timeout_seconds,
        failpoint=transport.Failpoint(name=wanted, file=os.environ[FILE]) if wanted else None,
        **place_of(variables),
    )


def place_of(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of a request that say which server of which host it is about."""
    return {
        "home": str(variables["dbmod_host_home"]),
        "instance": str(variables["dbmod_id"]),
        "datastore": str(variables["dbmod_datastore"]),
        "datastore_version": str(variables["dbmod_datastore_version"]),
        "directory": str(variables.get("dbmod_directory", "")),
        "address": _address(variables),
        "port": int(variables.get("dbmod_port") or 0),
        "memory_mib": int(variables.get("dbmod_memory_mib") or 0),
        "restart_command": _restart_command(variables),
    }


def _size_bytes(tables: Tables, run: Run, request: transport.Request, modules: list[tuple[Module, Attempt]]) -> int:
    """Give the bytes of contents that go to the host; for those that come from it, what they take on their way."""
    carried = [(module, attempt.number) for module, attempt in modules] if request.verb == "apply" else []
    if run.verb == "retrieve":
        asked = [module for module, _ in modules] or tables.find(Module)
        rows = ((module, tables.get(Row, request.instance, within=module.id)) for module in asked)
        carried = [(module, row.held) for module, row in rows if row and row.held] * RETRIEVED_WEIGHT
    versions = (module.version(number) for module, number in carried)
    return sum(version.size_bytes for version in versions if version)


def _address(variables: Mapping[str, Any]) -> str:
    """Give where the server answers as seen on its host; an adopted one need not listen where clients reach it."""
    facts = variables.get("dbmod_facts") or {}
    return str(facts.get("listens_on") or variables.get("dbmod_address") or "")


def _restart_command(variables: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the instance's own command where it was adopted with one, else its provider's."""
    own = variables.get("dbmod_restart_command")
    if own:
        return tuple(str(word) for word in own)
    known = {key: str(variables.get(f"dbmod_{key}", "")) for key in ("directory", "unit")}
    return providers.restart_command(str(variables.get("dbmod_provider", "")), **known)


def _module_request(run: Run, module: Module, attempt: Attempt) -> transport.ModuleRequest:
    version = module.version(attempt.number)
    return transport.ModuleRequest(
        module=module.id,
        type=module.type,
        name=module.name,
        datastore=module.datastore or "all",
        datastore_version=module.datastore_version or "all",
        tenant=module.tenant or "all",
        version_number=attempt.number,
        md5=version.md5 if version else "",
        sha256=version.sha256 if version else "",
        removes=evidence.removes(run, attempt),
        auto_apply=module.auto_apply,
        visible=module.visible,
        is_admin=module.is_admin,
    )


def _frame(ready: Ready, request: transport.Request, modules: list[tuple[Module, Attempt]]) -> bytes:
    """Put the bytes together; contents are decrypted here, in memory, and nowhere else."""
    used = {module.type for module, _ in modules}
    sources = {name: source for name, source in ready.sources.items() if name in used or not used}
    contents = []
    if request.verb == "apply":
        contents = [
            b"" if asked.removes else ready.context.store.read_contents(module.id, attempt.number)
            for asked, (module, attempt) in zip(request.modules, modules, strict=True)
        ]
    return transport.frame(request, sources, contents)


def interpreter(variables: Mapping[str, Any]) -> str:
    """Give the host's Python: what its variables name by a path, else the usual one, as for Ansible's `auto`."""
    named = str(variables.get(doors.INTERPRETER, ""))
    return named if named.startswith("/") else DEFAULT_INTERPRETER


def _kept(here: Context, tables: Tables, run: Run, answer: transport.Answer) -> transport.Answer:
    """Write retrieved contents to files, and say in each result where; no contents leave this function."""
    directory, prefix = Path(str(run.options["directory"])), str(run.options["prefix"])
    results = []
    taken: set[str] = set()
    for result in answer.results:
        module = tables.get(Module, result.module)
        message = result.message
        if module is not None and result.contents is not None:
            message = _keep(directory, prefix, module, result.contents, actor=here.actor, taken=taken)
        results.append(msgspec.structs.replace(result, contents=None, message=message))
    return msgspec.structs.replace(answer, results=tuple(results))


def _keep(directory: Path, prefix: str, module: Module, contents: bytes, *, actor: Actor, taken: set[str]) -> str:
    """Write one file and give its path."""
    if module.is_admin and not actor.admin:
        contents = f"Must be admin to retrieve contents for module {module.name}".encode()
    stem = f"{prefix}{module.name}_{module.datastore or 'all'}_{module.datastore_version or 'all'}"
    is_long = len(f"{stem}.dat{durable.NEW}".encode()) > FILE_NAME_LIMIT_BYTES
    if is_long or not names.is_valid_name(stem) or stem in taken:
        stem = f"{prefix}{module.id}_{module.datastore or 'all'}_{module.datastore_version or 'all'}"
    taken.add(stem)
    path = directory / f"{stem}.dat"
    try:
        durable.write_file(path, contents)
    except OSError as error:
        durable.remove(path.with_name(path.name + durable.NEW))
        raise errors.Failed(f"{path} cannot be written: {error.strerror}") from error
    return str(path)
