"""AWX's execution environment holds what pyproject.toml asks for, at the same versions."""

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
