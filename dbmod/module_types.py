"""The module types, found by listing library/ and the users' directories; what they say of themselves; validation.

A type is one file, dbmod_<type>.py. It is run here without its main, to ask it what it declares and whether contents
are good; the same source is what hosts are sent.
"""

import contextlib
import importlib
import sys
import types as python_types
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from dbmod import config, errors, names, paths
from dbmod.hostside import dbmod_kit as kit

PREFIX = "dbmod_"
NEEDS = ("root", "systemd")
SCOPES = ("instance", "host")
VALIDATE_SECONDS = 30  # as in a type's trials


class ModuleType(msgspec.Struct, frozen=True, kw_only=True):
    """A module type as its file describes it.

    cases  contents with what is expected of them, for the contract tests; see docs/module-types.md
    """

    name: str
    path: Path
    summary: str
    declares: kit.Declares
    cases: tuple[dict[str, Any], ...]


def listing(settings: config.Settings, wanted: Collection[str] | None = None) -> dict[str, ModuleType]:
    """Give types by name, in the order of their names: all, or the wanted ones as far as they are there.

    Raises  BadInput for a file that cannot be a type, and for two files of one name
    """
    return {name: _described(name, path) for name, path in files(settings, wanted).items()}


def files(settings: config.Settings, wanted: Collection[str] | None = None) -> dict[str, Path]:
    """Give the types' files by name, as `listing` does; they are not read, which takes 5 ms each.

    Raises  BadInput for two files of one name
    """
    found: dict[str, Path] = {}
    for directory in directories(settings):
        for path in sorted(directory.glob(f"{PREFIX}*.py")):
            name = path.stem.removeprefix(PREFIX)
            if name in found:
                raise errors.BadInput(
                    f"Module type '{name}' is there twice: {found[name]} and {path}",
                    next_step="rename or remove one of the two files",
                )
            found[name] = path
    return {name: path for name, path in sorted(found.items()) if wanted is None or name in wanted}


def directories(settings: config.Settings) -> list[Path]:
    """List where types lie: dbmod's own library, then the configured directories."""
    users = [Path(directory).expanduser().absolute() for directory in settings.type_directories]
    for directory in users:
        if not directory.is_dir():
            raise errors.BadInput(f"type_directories: {directory} is not a directory")
    return [paths.content() / "library", *users]


def find(settings: config.Settings, name: str) -> ModuleType:
    """Give the type of that name, in any case.

    Raises  NotFound
    """
    found = listing(settings, [name.lower()])
    if not found:
        raise errors.NotFound(
            f"Module type '{name}' was not found.", next_step="dbmod module-type-list shows the types there are"
        )
    return found[name.lower()]


def at(path: Path) -> ModuleType:
    """Give the type in a file, wherever it lies. Raises BadInput."""
    if not path.name.startswith(PREFIX) or path.suffix != ".py":
        raise errors.BadInput(f"{path} is no type's file: that is {PREFIX}<type>.py.")
    return _described(path.stem.removeprefix(PREFIX), path)


def sources(settings: config.Settings, wanted: Collection[str] | None = None) -> dict[str, str]:
    """Give the texts of the types' files, as `listing` gives types: that is what hosts are sent."""
    return {name: _read(path) for name, path in files(settings, wanted).items()}


def functions(module_type: ModuleType) -> kit.Type:
    """Load a type: its validate, apply, remove and query, as hosts run them."""
    return _loaded(module_type.name, module_type.path)[0]


def validate(module_type: ModuleType, contents: bytes) -> None:
    """Ask the type whether contents are good, in a child, as hosts do: it may take for ever.

    Raises  BadInput with the type's own reason; the contents are in no message
    """
    from dbmod.hostside import dbmod_child as child  # only for those who register a module

    kind = functions(module_type)

    def asked() -> dict[str, str]:
        try:
            kind.validate(contents)
        except kit.Refused as refusal:
            return {"refused": kit.one_line(str(refusal))}
        except BaseException as error:  # noqa: BLE001  (a type's own code; its text may hold contents)
            return {"failed": type(error).__name__}
        return {}

    ended = child.run(asked, VALIDATE_SECONDS)
    answer = {"failed": ended.problem} if ended.answer is None else ended.answer
    if "refused" in answer:
        raise errors.BadInput(answer["refused"])
    if "failed" in answer:
        raise errors.BadInput(
            f"{answer['failed']} in {module_type.name}'s validate",
            next_step=f"correct {module_type.path}, or use --no-validate",
        )


def _described(name: str, path: Path) -> ModuleType:
    if not names.is_valid_type(name):
        raise errors.BadInput(f"{path}: a type's name takes lower-case letters, digits and _, from a letter on")
    loaded, its_names = _loaded(name, path)
    declares, cases = loaded.declares, its_names.get("CASES", ())
    if not isinstance(declares, kit.Declares) or declares.scope not in SCOPES or not set(declares.needs) <= set(NEEDS):
        raise errors.BadInput(
            f"{path}: DECLARES must be a kit.Declares; needs knows {', '.join(NEEDS)}; scope knows {', '.join(SCOPES)}"
        )
    if not isinstance(cases, tuple) or not all(isinstance(case, dict) and "contents" in case for case in cases):
        raise errors.BadInput(f"{path}: CASES must be a tuple of dicts, each with contents")
    return ModuleType(name=name, path=path, summary=_summary(its_names), declares=declares, cases=cases)


def _summary(its_names: dict[str, Any]) -> str:
    """Take the one line from DOCUMENTATION without reading YAML, which would cost 15 ms at every start."""
    for line in str(its_names.get("DOCUMENTATION", "")).splitlines():
        if line.startswith("short_description:"):
            return kit.one_line(line.partition(":")[2].strip().strip("'\""))
    return kit.one_line(str(its_names.get("__doc__") or "").strip().partition("\n")[0])


def _loaded(name: str, path: Path) -> tuple[kit.Type, dict[str, Any]]:
    try:
        with _kit_importable():
            return kit.load(name, _read(path), str(path))
    except errors.DbmodError:
        raise
    except SyntaxError as error:
        raise errors.BadInput(f"{path} is not Python: line {error.lineno}: {error.msg}") from None
    except KeyError as error:
        raise errors.BadInput(f"{path} has no {error.args[0]} function") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  (a user's file)
        raise errors.BadInput(f"{path} cannot be loaded ({type(error).__name__})") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.BadInput(f"{path} cannot be read ({type(error).__name__})") from None


def _part(name: str) -> python_types.ModuleType:
    """Give a part of the kit that only some types import."""
    if not name.startswith(PREFIX):
        raise AttributeError(name)
    return importlib.import_module(f"dbmod.hostside.{name}")


@contextlib.contextmanager
def _kit_importable() -> Iterator[None]:
    """Let `from ansible.module_utils import dbmod_kit` give our kit without importing Ansible, which takes 200 ms."""
    package = python_types.ModuleType("ansible")
    utilities = python_types.ModuleType("ansible.module_utils")
    utilities.dbmod_kit = kit  # type: ignore[attr-defined]
    utilities.__getattr__ = _part  # type: ignore[method-assign]
    package.module_utils = utilities  # type: ignore[attr-defined]
    stand_ins = {"ansible": package, "ansible.module_utils": utilities, "ansible.module_utils.dbmod_kit": kit}
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
