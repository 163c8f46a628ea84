"""How modules stand, as Prometheus reads it: the text format 0.0.4 of node_exporter's textfile collector. Pure.

Source  https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from dbmod import fleet_status
from dbmod.fleet_status import Pair
from dbmod.records import Instance, Module

Sample = tuple[dict[str, str], float]  # labels, value


def text(instances: Sequence[Instance], found: Sequence[Pair]) -> str:
    """Write the metrics of pairs.

    instances  all that were chosen: one that holds nothing has a line too
    found      pairs of theirs, see fleet_status.looked_at

    Names may be shared, so every series bears an id. Prometheus keeps the label `instance` for itself.
    """
    looks = _looks(found)
    families: tuple[tuple[str, str, list[Sample]], ...] = (
        ("dbmod_pairs", "Instances that stand so with a module.", _by_module(found)),
        ("dbmod_instance_not_current", "Modules of an instance that are not current.", _by_instance(instances, found)),
        (
            "dbmod_instance_last_look_timestamp_seconds",
            "When an instance's host last said what it holds.",
            [(_instance(one), looks[one.id].timestamp()) for one in instances if one.id in looks],
        ),
        (
            "dbmod_last_look_timestamp_seconds",
            "When any of these hosts last said what it holds.",
            [({}, max(looks.values()).timestamp())] if looks else [],
        ),
    )
    return "".join(line + "\n" for name, about, samples in families for line in _family(name, about, samples))


def escaped(value: str) -> str:
    """Write a label's value: backslash, quote and line feed are the three that would end it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _family(name: str, about: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} gauge"
    for labels, value in samples:
        inner = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}"


def _by_module(found: Iterable[Pair]) -> list[Sample]:
    """Count every standing of every module, the 0 too: a series that vanishes would leave an alert as it was."""
    counted: Counter[tuple[str, str]] = Counter()
    modules: dict[str, Module] = {}
    for pair in found:
        modules[pair.module.id] = pair.module
        counted[pair.module.id, pair.standing] += 1
    return [
        ({"module": module.name, "module_id": module.id, "standing": standing}, counted[module.id, standing])
        for module in modules.values()
        for standing in fleet_status.STANDINGS
        if standing != "not applied"
    ]


def _by_instance(instances: Iterable[Instance], found: Iterable[Pair]) -> list[Sample]:
    counted = Counter(pair.instance.id for pair in found if pair.standing != "current")
    return [(_instance(one), counted[one.id]) for one in instances]


def _instance(one: Instance) -> dict[str, str]:
    return {
        "instance_name": one.name,
        "instance_id": one.id,
        "datastore": one.datastore,
        "cluster_id": one.cluster_id or "",
        "region": one.region,
    }


def _looks(found: Iterable[Pair]) -> dict[str, datetime]:
    """Give when each host last answered about any of its modules: instance id → time."""
    latest: dict[str, datetime] = {}
    for pair in found:
        observed = pair.row.observed_at if pair.row else None
        if observed is not None:
            latest[pair.instance.id] = max(observed, latest.get(pair.instance.id, observed))
    return latest
