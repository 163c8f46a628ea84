"""AWX's execution environment holds what pyproject.toml asks for, and dbmod itself from the wheel.

No image is built here, as that takes containers and the network: only what `ansible-builder` would build it from.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "execution-environment.yml").read_text(encoding="utf-8"))


def test_execution_environment_holds_the_requirements_of_the_project() -> None:
    dependencies = ENVIRONMENT["dependencies"]
    packages = {dependencies["ansible_core"]["package_pip"], dependencies["ansible_runner"]["package_pip"]}
    packages |= set(dependencies["python"])
    extras = PROJECT["optional-dependencies"]
    needed = {*PROJECT["dependencies"], *extras["openstack"], *extras["postgres"]}
    from_galaxy = {one for one in needed if one.startswith("ansible>=")}  # there its collections come from Galaxy
    assert packages == needed - from_galaxy


def test_execution_environment_names_files_that_exist() -> None:
    assert ENVIRONMENT["version"] == 3
    collections = yaml.safe_load((ROOT / ENVIRONMENT["dependencies"]["galaxy"]).read_text(encoding="utf-8"))
    assert all(collection["name"] and collection["version"] for collection in collections["collections"])


def test_context_of_the_build_holds_the_wheel(wheel: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "execution-environment.yml", tmp_path)
    shutil.copytree(ROOT / "collections", tmp_path / "collections")
    (tmp_path / "dist").mkdir()
    shutil.copy(wheel, tmp_path / "dist")
    program = Path(sys.executable).parent / "ansible-builder"
    made = subprocess.run(
        [str(program), "create", "--output-filename", "Containerfile"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    build = tmp_path / "context" / "_build"
    assert (build / "dbmod" / wheel.name).read_bytes() == wheel.read_bytes()
    assert set((build / "requirements.txt").read_text().split("\n")) >= set(ENVIRONMENT["dependencies"]["python"])
    collections = yaml.safe_load((build / "requirements.yml").read_text(encoding="utf-8"))
    assert collections == yaml.safe_load((ROOT / "collections" / "requirements.yml").read_text(encoding="utf-8"))
    lines = (tmp_path / "context" / "Containerfile").read_text(encoding="utf-8").splitlines()
    installed = next(number for number, line in enumerate(lines) if "/tmp/dbmod/dbmod-*.whl" in line)
    assert lines.index("COPY _build/dbmod /tmp/dbmod") < installed < lines.index("USER 1000")
