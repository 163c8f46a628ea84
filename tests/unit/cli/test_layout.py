"""Tables as text: the guide's frame, alignment, and text that cannot hide anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from dbmod.cli import layout

GUIDE_COUNT = """\
+-------------+---------------------+---------------------+----------------------------------+---------+-------+
| Module Name | Min Updated Date    | Max Updated Date    | Module MD5                       | Current | Count |
+-------------+---------------------+---------------------+----------------------------------+---------+-------+
| mymod       | 2017-06-02T17:22:25 | 2017-06-02T17:22:25 | 7f700cc7b99606615f8b51946f6d3228 |   False |     1 |
| mymod       | 2017-06-02T18:00:18 | 2017-06-02T18:00:18 | ba7c204979c8de54be6efb70a17d40b9 |    True |     3 |
+-------------+---------------------+---------------------+----------------------------------+---------+-------+"""


def test_grid_draws_the_guides_table() -> None:
    headers = ("Module Name", "Min Updated Date", "Max Updated Date", "Module MD5", "Current", "Count")
    first, second = "2017-06-02T17:22:25", "2017-06-02T18:00:18"
    rows = [
        ("mymod", first, first, "7f700cc7b99606615f8b51946f6d3228", False, 1),
        ("mymod", second, second, "ba7c204979c8de54be6efb70a17d40b9", True, 3),
    ]
    assert "\n".join(layout.grid(headers, rows)) == GUIDE_COUNT


def test_grid_without_rows_gives_the_headers_alone() -> None:
    assert list(layout.grid(["ID", "Name"], [])) == [
        "+----+------+",
        "| ID | Name |",
        "+----+------+",
        "+----+------+",
    ]


def test_grid_sets_digits_that_are_text_to_the_left() -> None:
    lines = list(layout.grid(["Flavor ID", "Size"], [("15", 1), ("20", None)]))
    assert lines[3:5] == ["| 15        |    1 |", "| 20        | None |"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (True, "True"),
        (7, "7"),
        (["a", "b"], "a, b"),
        ([{"Instance": "db-1", "To": None}], '{"Instance":"db-1","To":null}'),
        ("plain [bold]text[/bold]", "plain [bold]text[/bold]"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028break", "line\\u2028break"),
        ("half\udc80", "half\\udc80"),
        ("naïve 数据 👩\u200d💻", "naïve 数据 👩\u200d💻"),
    ],
)
def test_text_of_shows_what_is_there(value: object, shown: str) -> None:
    assert layout.text_of(value) == shown


WORDS = st.text(alphabet=st.sampled_from("abz09 _-|+äßЖ数据한"), max_size=20)  # narrow and wide letters


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=6))
def test_grid_holds_a_line_for_each_row_whatever_the_text(rows: list[tuple[str, str]]) -> None:
    lines = list(layout.grid(["One", "Two"], rows))
    assert len(lines) == 4 + len(rows)
    assert not any(set(line) & set("\n\r\x1b\u202e\x85") for line in lines)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=6))
def test_grid_lines_are_all_of_one_width(rows: list[tuple[str, str]]) -> None:
    assert len({wcswidth(line) for line in layout.grid(["One", "Two"], rows)}) == 1
