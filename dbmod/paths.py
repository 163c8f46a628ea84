"""Where dbmod's own content is: a project checkout, or the copy inside the installed package."""

import functools
import importlib.util
import os
from pathlib import Path
from types import ModuleType

from dbmod import errors

PACKAGE = Path(__file__).resolve().parent
FLEET_SOURCES = ("dbmod.yml", "dbmod.yaml")  # names of an inventory source that is the ledger's own


def content() -> Path:
    """Give the directory that holds playbooks/, roles/, library/, inventory/ and ansible.cfg."""
    checkout = PACKAGE.parent
    return checkout if (checkout / "playbooks").is_dir() else PACKAGE / "content"


def playbook(name: str) -> Path:
    return content() / "playbooks" / f"{name}.yml"


def role(kind: str, name: str) -> Path:
    """Give the folder of a drop-in role: kind is "datastore" or "provider"."""
    return content() / "roles" / f"{kind}_{name}"


def drop_ins(kind: str) -> list[str]:
    """List the names of the drop-in roles of a kind; the directory is the registry."""
    prefix = f"{kind}_"
    return sorted(path.name.removeprefix(prefix) for path in (content() / "roles").glob(f"{prefix}*") if path.is_dir())


def named(text: str) -> Path:
    """Give the absolute path that a user named; never an error, whatever the text is."""
    return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111  (pathlib's raises for ~nobody)


def is_path(place: str) -> bool:
    """Tell whether the place of an inventory is a path, and not in words: as awx.inventory says."""
    return place.startswith("/")


def is_there(path: Path) -> bool:
    """Tell whether a file or directory is there, as far as we may look; a name that no file can have is not."""
    return os.path.exists(path)  # noqa: PTH110  (pathlib's raises for a name that is too long)


def is_readable_file(path: Path) -> bool:
    """Tell whether there is a file that we may read; a directory is none, nor a name that no file can have."""
    return os.path.isfile(path) and os.access(path, os.R_OK)  # noqa: PTH113  (pathlib's raises for too long a name)


@functools.cache
def load(path: Path) -> ModuleType:
    """Import the Python file of a drop-in role: provider.py, accounts.py. Raises InternalError."""
    specification = importlib.util.spec_from_file_location(f"dbmod_{path.parent.name}_{path.stem}", path)
    if specification is None or specification.loader is None:
        raise errors.InternalError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
