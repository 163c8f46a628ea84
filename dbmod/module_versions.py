"""The versions of a module's contents: compared, and taken back."""

import difflib

from dbmod import errors, lookup, module_rules, module_types, registry
from dbmod.context import Context
from dbmod.records import Module, Version


def difference(context: Context, reference: str, before: str | None, after: str | None) -> list[str]:
    """Compare two versions as `diff -u` does.

    before, after  as lookup.version takes them; None: the last but one, and the last
    Returns        no lines where they are equal
    Raises         NotFound; Refused for contents that are nobody's to read, or were pruned
    """
    module = lookup.module(context.store.snapshot(), reference, actor=context.actor)
    _refuse_secret(context, module)
    second = lookup.version(module, after) if after else module.current
    if before is None and second.number == 1:
        raise errors.Refused(f"Version 1 of module '{module.name}' has none before it.")
    first = lookup.version(module, before) if before else lookup.version(module, str(second.number - 1))
    lines = [_lines(context, module, one) for one in (first, second)]
    titles = [f"{module.name} version {one.number}" for one in (first, second)]
    return list(difflib.unified_diff(lines[0], lines[1], titles[0], titles[1], lineterm=""))


def rollback(context: Context, reference: str, to: str, *, validate: bool = True) -> Module:
    """Make the contents of an earlier version the newest one, as an update with those contents would.

    Raises  NotFound; Refused where they are the present ones or were pruned, and what registry.change raises
    """
    module = lookup.module(context.store.snapshot(), reference, actor=context.actor)
    version = lookup.version(module, to)
    if version.sha256 == module.current.sha256:
        raise errors.Refused(f"The contents of version {version.number} are the present ones of '{module.name}'.")
    contents = _contents(context, module, version)
    return registry.change(context, module.id, registry.Change(), contents, validate=validate)


def _refuse_secret(context: Context, module: Module) -> None:
    """Refuse to show contents that no host may keep, or an admin's to somebody else."""
    way_out = f"dbmod module-versions {module.name} shows size and md5"
    if module_types.find(context.settings, module.type).declares.secret:
        raise errors.Refused(f"The contents of type '{module.type}' are secret.", next_step=way_out)
    if module.is_admin and not context.actor.admin:
        raise errors.Refused("You must be admin to read the contents of an admin module.", next_step=way_out)


def _lines(context: Context, module: Module, version: Version) -> list[str]:
    contents = _contents(context, module, version)
    try:
        return contents.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return [f"{version.size_bytes} bytes that are no text, sha256 {version.sha256}"]


def _contents(context: Context, module: Module, version: Version) -> bytes:
    module_rules.refuse_pruned(module, version)
    return context.store.read_contents(module.id, version.number)
