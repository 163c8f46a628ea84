"""Changes that touch no host, kept in the history beside the runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from dbmod import clock, ledger
from dbmod.ids import new_id
from dbmod.records import Attempt, Run
from dbmod.store.interface import Tables


def note(
    tables: Tables,
    verb: str,
    *,
    actor: str,
    reason: str,
    module_id: str | None = None,
    options: Mapping[str, Any] | None = None,
    subject: str = "",
    instance_ids: Sequence[str] = (),
) -> None:
    """Keep in the history a change that touches no host: registering, changing, deleting a module, renaming.

    options  what was done: of a sync {"modules": module id → what}, for one commit has one run; where contents were
             changed {"versions": module id → [number before or None, number after]}; of a pruning {"pruned": [number]}
    subject  see Run
    """
    now = clock.now()
    run_id = new_id()
    tables.put(
        Run(
            id=run_id,
            serial=tables.serial + 1,
            verb=verb,
            playbook="",
            module_id=module_id,
            cluster_id=None,
            options=dict(options or {}),
            actor=actor,
            reason=reason,
            subject=subject,
            state="done",
            owner=None,
            batch=0,
            batch_sizes=(),
            delay_seconds=0,
            max_errors=None,
            created_at=now,
            renewed_at=now,
            ended_at=now,
            closed_in=tables.serial + 1,
        )
    )
    done = [
        Attempt(
            run_id=run_id,
            instance_id=one,
            module_id="",
            batch=0,
            position=position,
            order=0,
            state="ok",
            number=0,
            from_number=None,
            sha256="",
            ended_at=now,
        )
        for position, one in enumerate(instance_ids)
    ]
    ledger.put_closed(tables, *done)
