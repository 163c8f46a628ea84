"""Fixtures that all tests share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbmod.config import Settings
from tests import figures

pytest_plugins = ["tests.beds.fixtures", "tests.postgresql"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a home of their own, which does not exist yet."""
    for name in ("DBMOD_KEY", "DBMOD_PREVIOUS_KEY"):
        monkeypatch.delenv(name, raising=False)
    return Settings(home=str(tmp_path / "home"), local_directory=str(tmp_path / "local"))


@pytest.fixture
def figure() -> Callable[[str, str], None]:
    """Print a figure at the end of the run: figure("R6", "200 of 200 …")."""
    return figures.figure


@pytest.hookimpl(tryfirst=True)  # before `-m` reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name.startswith("test_local_"):
            item.add_marker("patient")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand figures on to the process that prints them, where several share the tests."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = list(figures.FIGURES)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    figures.FIGURES.extend(getattr(node, "workeroutput", {}).get("figures", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures.FIGURES:
        terminalreporter.section("figures")
        for line in sorted(figures.FIGURES):
            terminalreporter.write_line(line)
