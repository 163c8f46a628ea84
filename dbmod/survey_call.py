"""Looking at one host for a run that adopts it: one round trip, and nothing is changed there."""

import shlex
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from dbmod import doors, errors, host_call, ledger, names, ssh_trouble, survey, transport
from dbmod.records import Attempt, Instance, Run
from dbmod.survey import Told

BOOTSTRAP = "import sys;i=sys.stdin.buffer;exec(compile(i.read(int(i.readline())),'dbmod_survey','exec'))"


def carry_out(
    run_id: str, variables: Mapping[str, Any], send: host_call.Send, template: survey.Template
) -> dict[str, Any]:
    """Look at one host for a run.

    variables  the host's, see doors.plain_host
    Returns    {"told": a Told}; whatever goes wrong is in it
    """
    instance_id = str(variables["dbmod_id"])
    try:
        told = _carry_out(run_id, instance_id, variables, send, template)
    except errors.DbmodError as error:
        reason = f"{error.what}; next: {error.next_step}" if error.next_step else error.what
        told = Told(instance=instance_id, state="error", message=transport.text(reason))
    except Exception as error:  # noqa: BLE001  the kind only: a text may hold what is secret
        told = Told(instance=instance_id, state="error", message=f"internal error of dbmod ({type(error).__name__})")
    return {"changed": False, "told": msgspec.to_builtins(told)}


def _carry_out(
    run_id: str, instance_id: str, variables: Mapping[str, Any], send: host_call.Send, template: survey.Template
) -> Told:
    tables = doors.context().store.snapshot()
    run = ledger.open_run(tables, run_id)
    instance = tables.get(Instance, instance_id)
    if instance is None or not tables.find(Attempt, run_id=run_id, instance_id=instance_id, state="planned"):
        return Told(instance=instance_id, state="error", message="the run does not name this host")
    asked = survey.read_asked(run.options, template)
    reply = send(_command(variables), survey.frame(asked))
    found = survey.read_answer(reply.output)
    if found is None:
        said = reply.trouble or "the host gave no answer that can be understood"
        reason = ssh_trouble.explain(said, name=instance.name, is_first=not instance.host_keys)
        state: Literal["error", "unreachable"] = "error" if reply.was_reached else "unreachable"
        return Told(instance=instance_id, state=state, message=transport.text(reason))
    if run.options.get("host_keys_only"):
        return Told(instance=instance_id, state="ok", facts={"host_keys": survey.host_keys(found)})
    facts, note = survey.interpret(found, asked)
    facts["address"] = _address(template, instance)
    return Told(instance=instance_id, state="ok", message=note, facts=facts, cluster=_cluster(run, template))


def _address(template: survey.Template, instance: Instance) -> str:
    """Give the address that people connect to: what the inventory says, else the name of the host."""
    told = template("ansible_host") or instance.address or instance.provider_facts.get("inventory_host", "")
    address = str(told)
    if not names.is_plain(address.replace(":", "")):
        raise errors.BadInput(f"its address {address[:80]!r} is not plain")
    return address


def _cluster(run: Run, template: survey.Template) -> str:
    """Give the name of the host's cluster, empty where none was asked for."""
    variable = str(run.options.get("cluster_by") or "")
    if not variable:
        return ""
    value = template(variable)
    if value is None:
        raise errors.BadInput(f"it has no variable {variable}", next_step="set it, or adopt it without --cluster-by")
    if not isinstance(value, str | int) or not names.is_valid_name(str(value)):
        raise errors.BadInput(f"its variable {variable} names no cluster: {str(value)[:80]!r}")
    return str(value)


def _command(variables: Mapping[str, Any]) -> str:
    return f"{shlex.quote(host_call.interpreter(variables))} -IS -c {shlex.quote(BOOTSTRAP)}"
