"""Asking one host how its server is: one round trip, and nothing is changed there."""

from collections.abc import Mapping
from typing import Any

import msgspec

from dbmod import host_call, paths, ssh_trouble, transport
from dbmod.transport import Health


def carry_out(
    run_id: str,
    variables: Mapping[str, Any],
    send: host_call.Send,
    *,
    name: str,
    wait_seconds: float | None = None,
    max_lag_seconds: int | None = None,
) -> dict[str, Any]:
    """Ask a server how it is; roles/datastore_<name>/health.py says what it is asked.

    variables        the host's, see doors.plain_host
    name             the host's, for what is said of it
    wait_seconds     until it is well, else that is a failure; None: as it is now, and nothing is a failure
    max_lag_seconds  how far a replica may be behind; None: neither that nor whether its cluster is whole matters
    Returns          the fields of a Health; with a failure "failed", "msg", and "unreached": there was no login
    """
    asked = transport.Request(
        run=run_id,
        serial=0,
        verb="health",
        modules=(),
        wait_seconds=wait_seconds or 0,
        max_lag_seconds=max_lag_seconds,
        **host_call.place_of(variables),
    )
    source = paths.role("datastore", asked.datastore) / "health.py"
    reply = send(
        transport.command(host_call.interpreter(variables)), transport.frame(asked, {"health": source.read_text()})
    )
    found = transport.read_health(reply.output, run_id)
    if found is None:
        said = reply.trouble or "the host gave no answer that can be understood"
        reason = transport.text(ssh_trouble.explain(said, name=name))
        found = Health(faults=(reason,), is_replica=False)
    answer = {"changed": False, "unreached": not reply.was_reached, **msgspec.to_builtins(found)}
    is_failure = wait_seconds is not None and bool(found.faults)
    return answer | ({"failed": True, "msg": ", ".join(found.faults)} if is_failure else {})
