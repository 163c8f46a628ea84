"""The files that users name as contents."""

import io
import os
import sys
import tracemalloc
from pathlib import Path

import pytest

from dbmod import contents_files, errors


def test_bytes_come_as_they_are(tmp_path: Path) -> None:
    every = bytes(range(256)) + b"\r\n{{ x }}"
    (tmp_path / "f").write_bytes(every)
    assert contents_files.read(str(tmp_path / "f"), limit_bytes=1000) == every


def test_hyphen_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\x00")))
    assert contents_files.read("-", limit_bytes=2) == b"\xff\x00"


def test_empty_is_refused_in_troves_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.BadInput) as refusal:
        contents_files.read("x", limit_bytes=10)
    assert refusal.value.what == "The file 'x' must contain some data"


@pytest.mark.parametrize("path", ["/dev/zero", "/", "fifo"])
def test_what_is_no_regular_file_is_refused(path: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(errors.BadInput, match="is not a regular file"):
        contents_files.read(str(tmp_path / path), limit_bytes=10)


def test_a_missing_file_and_an_impossible_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.BadInput, match="No such file"):
        contents_files.read(str(tmp_path / "none"), limit_bytes=10)
    with pytest.raises(errors.BadInput, match="cannot be read"):
        contents_files.read("a\0b", limit_bytes=10)


def test_a_sparse_file_over_the_limit_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    with pytest.raises(errors.BadInput, match="too large: the limit is 100 bytes"):
        contents_files.read(str(tmp_path / "big"), limit_bytes=100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_sparse_file_within_the_limit_is_read(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(100)
    assert contents_files.read(str(tmp_path / "holes"), limit_bytes=100) == bytes(100)


def test_standard_input_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = io.BytesIO(bytes(1000))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(endless))
    with pytest.raises(errors.BadInput, match="too large"):
        contents_files.read("-", limit_bytes=10)
