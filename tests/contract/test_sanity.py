"""The module types pass everything that Ansible's own sanity tests look for."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "sanity"


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_ansible_test_sanity_finds_nothing() -> None:
    """It installs what it needs from PyPI, once for each of its tests."""
    ended = subprocess.run([SCRIPT], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
