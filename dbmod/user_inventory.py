"""The user's own Ansible inventory: which hosts a pattern names there. Ansible itself is asked; no variable is read."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from dbmod import ansible_asked, errors, lookup, names, paths
from dbmod.context import Context
from dbmod.selection import Selection, matches

STRICT = {
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
}


def hosts(inventory: Path, pattern: str, *, arguments: Sequence[str] = ()) -> list[str]:
    """List the hosts that an Ansible pattern names, in the inventory's order.

    inventory  a file, a directory, or the settings of an inventory plugin
    arguments  --vault-id and the like, for an inventory that is encrypted as a whole
    Returns    none where the pattern names none
    Raises     BadInput where Ansible cannot read the inventory
    """
    words = ["-i", str(inventory), *arguments, "--list-hosts", "--", pattern]
    answer = ansible_asked.ask("adhoc", words, about=str(inventory), environment=STRICT)
    if answer.returncode:
        raise errors.BadInput(
            f"Ansible cannot read the inventory {inventory}.",
            details={"ansible": ansible_asked.reason(answer.stderr)},
            next_step=f"ansible -i {inventory} --list-hosts all",
        )
    return [line.strip() for line in answer.stdout.splitlines()[1:] if line.strip()]


def with_groups(context: Context, selection: Selection, hosts: Callable[[Path, str], Sequence[str]]) -> Selection:
    """Resolve the words of a limit that name no instance as groups of the inventories that hosts were adopted from.

    hosts   asks an inventory which hosts a group has
    """
    words = {part.strip().removeprefix("!") for part in selection.limit.split(",")}
    living = lookup.living_instances(context.store.snapshot(), actor=context.actor)
    adopted = [one for one in living if paths.is_path(str(one.provider_facts.get("inventory") or ""))]
    unknown = {word for word in words if names.is_plain(word) and not any(matches(one, word) for one in living)}
    groups: dict[str, frozenset[str]] = {}
    for inventory in sorted({str(one.provider_facts["inventory"]) for one in adopted}) if unknown else []:
        for word in sorted(unknown):
            members = set(hosts(Path(inventory), word))
            found = {
                one.id
                for one in adopted
                if one.provider_facts["inventory"] == inventory and one.provider_facts["inventory_host"] in members
            }
            groups[word] = groups.get(word, frozenset()) | found
    return msgspec.structs.replace(selection, groups=groups)
