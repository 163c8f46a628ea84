"""The groups of the fleet as an inventory: what hosts share, and how they stand with each module. Pure.

Names that users wrote become group names here, and nothing else: ASCII letters, digits and underscores, or an id.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dbmod import names, planning
from dbmod.records import Cluster, Instance, Module, Row

KINDS = ("datastore", "version", "provider", "region", "cluster", "tenant", "status", "module")
STANDINGS = ("", "_outdated", "_failed")  # what module_<name> may go on with
NOT_IN_GROUPS = re.compile(r"[^A-Za-z0-9_]")
DIGEST_CHARACTERS = 12
Groups = dict[str, list[str]]


def build(
    instances: Iterable[Instance],
    *,
    host_names: Mapping[str, str],
    clusters: Iterable[Cluster],
    modules: Iterable[Module],
    rows: Iterable[Row],
) -> Groups:
    """Put hosts into their groups.

    host_names  instance id → host name
    modules     those that exist for the one who asks; each has its groups, also where no host is in them
    rows        live ones; those of other modules and instances are passed over
    Returns     group → host names, sorted
    """
    there = list(instances)
    groups: Groups = {}
    for kind, held in _shared(there, clusters).items():
        for instance in there:
            if instance.id in held:
                groups.setdefault(f"{kind}_{held[instance.id]}", []).append(host_names[instance.id])
    hosts = {instance.id: host_names[instance.id] for instance in there}
    groups |= _standings(hosts, modules, rows)
    return {name: sorted(members, key=names.natural_key) for name, members in groups.items()}


def is_like_a_group(name: str) -> bool:
    """Tell whether a name may be that of a group: a host of this name would be taken for all that are in it."""
    return name.startswith(tuple(f"{kind}_" for kind in KINDS)) and not NOT_IN_GROUPS.search(name)


def words(named: Mapping[str, str], *, endings: Sequence[str] = ("",)) -> dict[str, str]:
    """Give each thing the word that its groups bear: its name where that is plain and nothing else is called so.

    Two names that differ in dots and hyphens alone are both given up: neither may take the other's hosts.

    named    key → name; a key has no other thing's key in it: an id, or a digest
    endings  what is put behind the word
    Returns  key → word
    """
    by_key = {key: _spelled(key) for key in named}
    by_name = {key: _spelled(name) if names.is_plain(name) else by_key[key] for key, name in named.items()}
    taken = Counter(word + ending for key in named for word in {by_key[key], by_name[key]} for ending in endings)
    return {
        key: word if all(taken[word + ending] == 1 for ending in endings) else by_key[key]
        for key, word in by_name.items()
    }


def _shared(instances: Sequence[Instance], clusters: Iterable[Cluster]) -> dict[str, dict[str, str]]:
    """Give what instances have in common: kind → instance id → word."""
    cluster_names = {one.cluster_id: "" for one in instances if one.cluster_id}
    cluster_words = words(cluster_names | {one.id: one.name for one in clusters if one.id in cluster_names})
    return {
        "datastore": _words_of({one.id: (one.datastore,) for one in instances}),
        "version": _words_of({one.id: (one.datastore, one.datastore_version) for one in instances}),
        "provider": _words_of({one.id: (one.provider,) for one in instances}),
        "region": _words_of({one.id: (one.region,) for one in instances}),
        "cluster": {one.id: cluster_words[one.cluster_id] for one in instances if one.cluster_id},
        "tenant": _words_of({one.id: (one.tenant,) for one in instances}),
        "status": _words_of({one.id: (one.status,) for one in instances}),
    }


def _words_of(values: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Give the words of values that have no id; a digest stands in for one. Returns instance id → word."""
    digests = {value: _digest(value) for value in set(values.values())}
    found = words({digest: "-".join(value) for value, digest in digests.items()})
    return {key: found[digests[value]] for key, value in values.items()}


def _standings(hosts: Mapping[str, str], modules: Iterable[Module], rows: Iterable[Row]) -> Groups:
    """Give the hosts that hold each module, those that hold an old version of it, those where it failed last."""
    known = {module.id: module for module in modules}
    called = words({module.id: module.name for module in known.values()}, endings=STANDINGS)
    groups: Groups = {f"module_{word}{ending}": [] for word in called.values() for ending in STANDINGS}
    for row in rows:
        module, host = known.get(row.module_id), hosts.get(row.instance_id)
        if module is None or host is None:
            continue
        group = f"module_{called[module.id]}"
        if row.held is not None:
            groups[group].append(host)
        if (standing := f"_{planning.standing(row, module)}") in STANDINGS:
            groups[group + standing].append(host)
    return groups


def _spelled(word: str) -> str:
    return NOT_IN_GROUPS.sub("_", word)


def _digest(value: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(value).encode(errors="replace")).hexdigest()[:DIGEST_CHARACTERS]
