"""Modules as code: a YAML file of a team's git that declares modules, with their contents in files beside it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dbmod import contents_files, errors, module_rules, names, paths, registry, revision, vault_files
from dbmod.records import Source

TOTAL_LIMIT_BYTES = 256 << 20  # all contents are held in memory until they are written
NEXT_STEP = 'see docs/modules-as-code.md; a version wants quotes: datastore_version: "7.0"'


class Entry(registry.Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One module: what module-create asks for, and the path of its contents below the file's directory."""

    contents: str


class Listed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file.

    name  of this set of modules; empty: the file's path in its repository
    """

    name: str = ""
    modules: tuple[Entry, ...]


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A module that the file declares, with its contents, decrypted."""

    entry: Entry
    contents: bytes
    sha256: str  # of the contents


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read."""

    source: Source
    modules: tuple[Declared, ...]


def read(path: Path, *, limit_bytes: int, open_vault: vault_files.Open, revision_told: str = "") -> Declaration:
    """Read a file and the contents beside it.

    limit_bytes    of each contents
    revision_told  counts where the file lies in no git checkout: AWX hands a project on without its .git
    Raises         BadInput; it names modules by their names, and never what `contents` says: it may be a secret
    """
    if paths.is_there(path) and not path.is_file():
        raise errors.BadInput(f"{path} is not a regular file.")
    listed = _listed(path)
    here = path.absolute().parent
    found, files, total = [], [path.absolute()], 0
    for entry in listed.modules:
        module_rules.refuse_bad_name(entry.name)
        called = f"The contents file of module '{entry.name}'"
        files.append(_located(here, entry.contents, called))
        contents = _contents(files[-1], called, limit_bytes=limit_bytes, open_vault=open_vault)
        total += len(contents)
        if total > TOTAL_LIMIT_BYTES:
            raise errors.BadInput(
                f"The contents of all modules in {path} have more than {TOTAL_LIMIT_BYTES} bytes.",
                next_step="divide the file into several",
            )
        found.append(Declared(entry=entry, contents=contents, sha256=hashlib.sha256(contents).hexdigest()))
    source = _source(path.absolute(), files, name=listed.name, revision_told=revision_told)
    return Declaration(source=source, modules=tuple(found))


def _listed(path: Path) -> Listed:
    from dbmod import yaml_file  # 10 ms, and only this looks here

    try:
        data = yaml_file.read(path)
    except errors.BadInput as error:
        raise error from None  # --debug would quote the line
    try:
        return msgspec.convert(data, Listed)
    except msgspec.ValidationError as error:
        raise errors.BadInput(f"{path}: {error}", next_step=NEXT_STEP) from error


def _located(directory: Path, text: str, called: str) -> Path:
    """Give the file that *text* names, which has to lie below the directory, links followed."""
    refusal = errors.BadInput(
        f"{called} does not lie below {directory}.", next_step="`contents` names a file beside or below the YAML file"
    )
    named = Path(text)
    if not text or named.is_absolute() or ".." in named.parts:
        raise refusal
    try:
        place = (directory / named).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that no file can have
        raise refusal from None
    if not place.is_relative_to(directory.resolve()):
        raise refusal
    return place


def _contents(path: Path, called: str, *, limit_bytes: int, open_vault: vault_files.Open) -> bytes:
    data = contents_files.read_file(
        path, limit_bytes=limit_bytes, called=called, file_limit_bytes=vault_files.size_at_most(limit_bytes)
    )
    return open_vault(data, called) if vault_files.is_encrypted(data) else data  # the registry checks the limit itself


def _source(path: Path, files: Sequence[Path], *, name: str, revision_told: str) -> Source:
    found = revision.of(path.parent, files)
    if revision_told and not names.is_valid_text(revision_told):
        raise errors.BadInput("The revision that was told is not valid.", next_step="give the id of a commit")
    declared_in = name or (f"{found.prefix}{path.name}" if found else _relative(path))
    if not names.is_valid_text(declared_in):
        raise errors.BadInput(
            f"{path}: the name of this set of modules is not valid.",
            next_step="begin the file with `name: ` and 1 to 255 characters",
        )
    return Source(
        declared_in=declared_in,
        revision=found.commit if found else revision_told,
        is_dirty=bool(found and found.is_dirty),
    )


def _relative(path: Path) -> str:
    """Give the path from here: where AWX runs a playbook that is the project, as the checkout's top is in git."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name
