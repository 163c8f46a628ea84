"""The wheel is whole: an installed dbmod finds its playbooks, roles, types and inventory inside the package."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dbmod

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("inventory", "library", "playbooks", "roles")


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files_of(folder: Path) -> set[str]:
    """List the files below a folder, relative to it, without what Python caches there."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def test_wheel_bears_the_version_of_the_package(wheel: Path) -> None:
    assert wheel.name == f"dbmod-{dbmod.__version__}-py3-none-any.whl"


@pytest.mark.parametrize("folder", FOLDERS)
def test_wheel_holds_the_content_of_the_checkout(unpacked: Path, folder: str) -> None:
    held = files_of(ROOT / folder)
    assert held
    assert files_of(unpacked / "dbmod" / "content" / folder) == held


def test_wheel_holds_the_library_and_the_configuration_of_ansible(unpacked: Path) -> None:
    content = unpacked / "dbmod" / "content"
    assert (content / "ansible.cfg").read_bytes() == (ROOT / "ansible.cfg").read_bytes()
    library = {name for name in files_of(unpacked / "dbmod") if not name.startswith("content/")}
    assert library == files_of(ROOT / "dbmod")


def test_wheel_holds_nothing_else(unpacked: Path) -> None:
    assert {path.name for path in unpacked.iterdir()} == {"dbmod", f"dbmod-{dbmod.__version__}.dist-info"}


def test_installed_package_finds_its_content_and_its_command(unpacked: Path) -> None:
    program = (
        "from importlib import metadata; from dbmod import paths\n"
        "(command,) = metadata.distribution('dbmod').entry_points.select(group='console_scripts')\n"
        "assert callable(command.load())\n"
        "print(command.name, paths.content(), *paths.drop_ins('datastore'))"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(unpacked)!r})\n{program}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=unpacked.parent,
    )
    assert ran.returncode == 0, ran.stderr
    datastores = sorted(path.name.removeprefix("datastore_") for path in (ROOT / "roles").glob("datastore_*"))
    assert ran.stdout.split() == ["dbmod", str(unpacked / "dbmod" / "content"), *datastores]
