"""Bombs fizzle (R13): refused at once, with line and column."""

import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dbmod import errors, yaml_file

LAUGHS = "a: &a [x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{f'*{chr(97 + n)}, ' * 9}]\n" for n in range(9))
BOMBS = {
    "aliases": (LAUGHS, "line 2, column 8", "aliases are not allowed"),
    "merged alias": ("a: &a {x: 1}\nb:\n  <<: *a\n", "line 3, column 7", "aliases are not allowed"),
    "depth 21 in flow": ("[" * 21 + "]" * 21, "line 1, column 21", "nested deeper than 20"),
    "depth 21 in blocks": ("".join(f"{' ' * n}a:\n" for n in range(30)), "line 20, column 20", "nested deeper than 20"),
    "100000 brackets": ("[" * 100_000, "line 1, column 21", "nested deeper than 20"),
    "100000 braces": ('{"a":' * 100_000, "line 1, column 101", "nested deeper than 20"),
    "duplicate keys": ("a: 1\nb: 2\na: 3\n", "line 3, column 1", "the key 'a' is twice here"),
    "duplicate keys inside": ("a:\n  - {b: 1, b: 2}\n", "line 2, column 12", "the key 'b' is twice here"),
    "a list as a key": ("? [1]\n: 2\n", "line 1, column 3", "a key must be text or a number"),
    "python": ("a: !!python/object/apply:os.system [id]\n", "line 1, column 4", "could not determine a constructor"),
    "not closed": ("a: [1\n", "line 2, column 1", "expected ',' or ']'"),
    "a zero byte": ("ab: 1\nc: \0\n", "line 2, column 4", "special characters are not allowed"),
}


def refusal(tmp_path: Path, data: bytes) -> errors.BadInput:
    path = tmp_path / "bomb.yml"
    path.write_bytes(data)
    with pytest.raises(errors.BadInput) as caught:
        yaml_file.read(path)
    return caught.value


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    text, where, why = BOMBS[name]
    error = refusal(tmp_path, text.encode())
    assert f"bomb.yml: {where}: {why}" in error.what
    assert error.exit_code == 2


def test_bombs_are_refused_within_100_ms_and_64_mib(tmp_path: Path, figure: Callable[[str, str], None]) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest = 0.0
    bombs = [text.encode() for text, _, _ in BOMBS.values()] + [bytes(64 << 20), b"\xff" * 1000]
    for data in bombs:
        path = tmp_path / "bomb.yml"
        path.write_bytes(data)
        started = time.process_time()  # of this process alone: others share the machine
        with pytest.raises(errors.BadInput):
            yaml_file.read(path)
        slowest = max(slowest, time.process_time() - started)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    figure(
        "R13", f"{len(bombs)} of {len(bombs)} bombs refused, slowest {slowest * 1000:.0f} ms, {grown_mib:.0f} MiB more"
    )
    assert slowest <= 0.1
    assert grown_mib <= 64


def test_bytes_that_are_no_text_are_refused_with_their_place(tmp_path: Path) -> None:
    assert "line 2, column 5: " in refusal(tmp_path, "é: 1\nüb: \u00e9".encode()[:-1] + b"\xff\n").what


def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"#" * ((1 << 20) + 1)).what.endswith("is larger than 1048576 bytes")


def test_a_date_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "not YAML: ValueError" in refusal(tmp_path, b"a: 2017-99-99\n").what


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.BadInput, match="No such file or directory"):
        yaml_file.read(tmp_path / "none.yml")


def test_what_is_sound_is_read_up_to_depth_20(tmp_path: Path) -> None:
    path = tmp_path / "sound.yml"
    path.write_text("a: [1, two, {b: true}]\n'1': x\n1: y\n")
    assert yaml_file.read(path) == {"a": [1, "two", {"b": True}], "1": "x", 1: "y"}
    path.write_text("[" * 20 + "]" * 20)
    assert yaml_file.read(path) is not None
