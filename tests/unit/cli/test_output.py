"""What is printed, in each format, and where."""

import io
import json
import sys

import pytest
import yaml

from dbmod import errors
from dbmod.cli import output
from dbmod.cli.output import View

COLUMNS, FURTHER = ("ID", "Size"), ("Sha256",)
ROWS = [("a", 1, "f00"), ("b,\u202e", None, "f01")]


def test_table_hides_further_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(View(), COLUMNS, ROWS, further=FURTHER)
    assert capsys.readouterr().out.splitlines()[1] == "| ID       | Size |"


def test_json_is_a_list_of_objects_with_all_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(View(format="json"), COLUMNS, ROWS, further=FURTHER)
    assert json.loads(capsys.readouterr().out) == [
        {"ID": "a", "Size": 1, "Sha256": "f00"},
        {"ID": "b,\u202e", "Size": None, "Sha256": "f01"},
    ]


def test_yaml_says_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(View(format="yaml"), COLUMNS, ROWS)
    assert yaml.safe_load(capsys.readouterr().out) == [{"ID": "a", "Size": 1}, {"ID": "b,\u202e", "Size": None}]


def test_csv_quotes_what_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(View(format="csv"), COLUMNS, ROWS)
    assert capsys.readouterr().out == '"ID","Size"\n"a",1\n"b,\\u202e","None"\n'


def test_value_gives_a_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(View(format="value"), COLUMNS, ROWS)
    assert capsys.readouterr().out == "a 1\nb,\\u202e None\n"


def test_columns_are_picked_in_the_tables_order_also_further_ones(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(View(format="value", columns=("Sha256", "ID")), COLUMNS, ROWS, further=FURTHER)
    assert capsys.readouterr().out == "a f00\nb,\\u202e f01\n"


def test_unknown_column_is_refused_with_those_there_are() -> None:
    with pytest.raises(errors.BadInput) as refusal:
        output.table(View(columns=("Nope",)), COLUMNS, ROWS)
    assert refusal.value.lines() == ["There is no column Nope here.", "  columns  ID, Size"]


def test_properties_are_sorted_and_left_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.properties(View(), {"name": "mymod", "apply_order": 5, "visible": True}, further={"sha256": "f00"})
    assert capsys.readouterr().out == (
        "+-------------+-------+\n"
        "| Property    | Value |\n"
        "+-------------+-------+\n"
        "| apply_order | 5     |\n"
        "| name        | mymod |\n"
        "| visible     | True  |\n"
        "+-------------+-------+\n"
    )


def test_properties_in_json_are_one_object_with_further_ones(capsys: pytest.CaptureFixture[str]) -> None:
    output.properties(View(format="json"), {"name": "mymod"}, further={"sha256": "f00"})
    assert json.loads(capsys.readouterr().out) == {"name": "mymod", "sha256": "f00"}


def test_further_property_is_shown_when_it_is_picked(capsys: pytest.CaptureFixture[str]) -> None:
    output.properties(View(format="value", columns=("sha256",)), {"name": "mymod"}, further={"sha256": "f00"})
    assert capsys.readouterr().out == "f00\n"


def test_errors_go_to_standard_error_without_colour_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.error(["what \x1b[2J", "  next  do"])
    assert capsys.readouterr() == ("", "ERROR: what \\x1b[2J\n  next  do\n")


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert output.has_colour(Terminal()) is coloured
    assert output.has_colour(io.StringIO()) is False


def test_text_that_the_terminal_cannot_write_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.line("naïve")
    assert raw.getvalue() == b"na\\xefve\n"


def test_trace_shows_no_secret(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBMOD_KEY", "CANARY-of-the-environment")
    output.hide("CANARY-typed")
    output.trace(ValueError("CANARY-of-the-environment, CANARY-typed"))
    shown = capsys.readouterr().err
    assert "CANARY" not in shown
    assert "ValueError: ********, ********" in shown
