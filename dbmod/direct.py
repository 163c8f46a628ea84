"""Runs started by `ansible-playbook` itself: from its variables to a planned run, by the same operations as `dbmod`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dbmod import declaration, errors, module_sync, operations, paths, vault_files
from dbmod.context import Context
from dbmod.doors import plain
from dbmod.operations import Pace, Planned, Selection

BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
EMPTY = ("", None)


def plan(here: Context, verb: str, variables: Mapping[str, Any]) -> str:
    """Plan a module run from a play's variables and give its id.

    variables  of the play's host; an empty one means unset
    Returns    "" when there is nothing to do
    Raises     BadInput, Refused
    """
    given = _given(variables, KNOWN)
    if verb not in PLANNERS:
        raise errors.BadInput(f"`{verb}` is planned by the dbmod command.", next_step=f"dbmod help {verb}")
    here = msgspec.structs.replace(here, reason=str(given.get("reason", "")))
    planned = PLANNERS[verb](here, given, _allowed_hosts(variables))
    return planned.run.id if planned.run else ""


def sync(here: Context, variables: Mapping[str, Any], *, open_vault: vault_files.Open) -> dict[str, Any]:
    """Make the registry equal to a file that declares modules; with Ansible's --check only say what would be done.

    variables  of the play's host; a relative `file` is looked for where ansible-playbook is started: AWX's project
    Returns    {"changed", "msg", "lines": one for each module}
    Raises     BadInput, Refused
    """
    given = _given(variables, ("file", "prune", "reason", "ansible_check_mode", *REVISIONS))
    here = msgspec.structs.replace(here, reason=str(given.get("reason", "")))
    declared = declaration.read(
        paths.named(_required(given, "file")),
        limit_bytes=here.settings.contents_limit_bytes,
        open_vault=open_vault,
        revision_told=next((str(given[name]) for name in REVISIONS if name in given), ""),
    )
    planned = module_sync.plan(here, declared, prune=_boolean(given, "prune"))
    if not given.get("ansible_check_mode"):
        module_sync.carry_out(here, planned)
    lines = [module_sync.line(step) for step in planned.steps]
    return {"changed": planned.is_changing, "msg": module_sync.counts(planned), "lines": lines}


def _apply(here: Context, given: Mapping[str, Any], hosts: tuple[str, ...]) -> Planned:
    modules = given.get("modules", [])
    references = modules.split(",") if isinstance(modules, str) else list(modules)
    check = bool(given.get("ansible_check_mode"))
    return operations.plan_apply(here, _selection(given, hosts), references, pace=_pace(given), check=check)


def _remove(here: Context, given: Mapping[str, Any], hosts: tuple[str, ...]) -> Planned:
    check = bool(given.get("ansible_check_mode"))
    return operations.plan_remove(
        here, _selection(given, hosts), _required(given, "module"), pace=_pace(given), check=check
    )


def _query(here: Context, given: Mapping[str, Any], hosts: tuple[str, ...]) -> Planned:
    verb = "reconcile" if _boolean(given, "reconcile") else "query"
    return operations.plan_question(here, verb, _selection(given, hosts))


def _retrieve(here: Context, given: Mapping[str, Any], hosts: tuple[str, ...]) -> Planned:
    _required(given, "instance")  # the files of several would bear the same names
    return operations.plan_retrieve(
        here,
        _selection(given, hosts),
        directory=str(given.get("directory", ".")),
        prefix=str(given.get("prefix", "")),
    )


def _reapply(here: Context, given: Mapping[str, Any], hosts: tuple[str, ...]) -> Planned:
    return operations.plan_reapply(
        here,
        _required(given, "module"),
        md5=str(given["md5"]) if "md5" in given else None,
        include_clustered=_boolean(given, "include_clustered"),
        force=_boolean(given, "force"),
        pace=_pace(given),
        hosts=hosts,
        check=bool(given.get("ansible_check_mode")),
    )


PLANNERS = {"apply": _apply, "remove": _remove, "query": _query, "retrieve": _retrieve, "reapply": _reapply}
KNOWN = (
    *("instance", "cluster", "datastore", "limit_to", "all_instances", "modules", "module", "md5"),
    *("include_clustered", "force", "batch_size", "delay", "max_errors", "reconcile", "directory", "prefix"),
    *("reason", "ansible_check_mode"),
)


REVISIONS = ("awx_project_revision", "tower_project_revision")  # AWX gives every job both


def _given(variables: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Pick the variables that are set, as plain values. They are never templated: users' words must not run."""
    return {name: plain(variables[name]) for name in known if name in variables and variables[name] not in EMPTY}


def _selection(given: Mapping[str, Any], hosts: tuple[str, ...]) -> Selection:
    return Selection(
        instance=str(given.get("instance", "")),
        cluster=str(given.get("cluster", "")),
        datastore=str(given.get("datastore", "")),
        limit=str(given.get("limit_to", "")),
        all=_boolean(given, "all_instances"),
        hosts=hosts,
    )


def _pace(given: Mapping[str, Any]) -> Pace:
    return Pace(
        batch_size=_whole(given, "batch_size", 0) if "batch_size" in given else None,
        delay_seconds=_number(given, "delay", operations.DEFAULT_DELAY_SECONDS),
        max_errors=_whole(given, "max_errors", 0),
    )


def _allowed_hosts(variables: Mapping[str, Any]) -> tuple[str, ...]:
    """List the instances of the play, which Ansible's own --limit may have narrowed."""
    known = variables["hostvars"]
    return tuple(
        str(known[host]["dbmod_id"]) for host in variables["ansible_play_hosts_all"] if "dbmod_id" in known[host]
    )


def _required(given: Mapping[str, Any], name: str) -> str:
    if name not in given:
        raise errors.BadInput(f"The variable `{name}` is not set.", next_step=f"-e {name}=…")
    return str(given[name])


def _boolean(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if isinstance(value, bool):
        return value
    if str(value).lower() not in BOOLEANS:
        raise errors.BadInput(f"The variable `{name}` must be true or false, not {value!r}.")
    return BOOLEANS[str(value).lower()]


def _number(given: Mapping[str, Any], name: str, default: float) -> float:
    try:
        number = float(given.get(name, default))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise errors.BadInput(f"The variable `{name}` must be a number, not {given[name]!r}.")
    return number


def _whole(given: Mapping[str, Any], name: str, default: int) -> int:
    number = _number(given, name, default)
    if not number.is_integer():
        raise errors.BadInput(f"The variable `{name}` must be a whole number, not {given[name]!r}.")
    return int(number)
