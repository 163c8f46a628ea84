"""Tables as text. Pure: gives lines, prints nothing."""

import unicodedata
from collections.abc import Iterator, Sequence

import msgspec

ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories that move the cursor, hide text or turn its direction
JOINERS = "\u200c\u200d"  # of Persian and of emoji: harmless, and the text is wrong without them


def text_of(value: object) -> str:
    """Write a value as tables show it: None and True by their names, lists by comma, nothing hidden in it."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list | tuple):
        return ", ".join(text_of(one) for one in value)
    return visible(msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value))


def visible(text: str) -> str:
    """Escape what would move the cursor, break the line or turn the direction of writing; anything else stays."""
    if text.isprintable():
        return text
    return "".join(
        one.encode("unicode_escape").decode() if unicodedata.category(one) in ESCAPED and one not in JOINERS else one
        for one in text
    )


def grid(headers: Sequence[str], rows: Sequence[Sequence[object]], *, align_numbers: bool = True) -> Iterator[str]:
    """Draw a table in the guide's frame, as wide as its text, whatever the terminal.

    rows           one value per header each; none at all gives the headers alone
    align_numbers  columns that hold only numbers and booleans are set to the right, with their headers
    Source         prettytable draws the tables of Trove's client, too; rich takes thirty times as long for 1000 rows
    """
    from prettytable import PrettyTable  # 10 ms, only for commands that print a table

    table = PrettyTable([str(number) for number in range(len(headers))], align="l", header=False)
    for number in range(len(headers)):
        if align_numbers and _is_number_column(rows, number):
            table.align[str(number)] = "r"
    table.add_row([text_of(header) for header in headers], divider=True)  # its own must differ; ours users may name
    table.add_rows([[text_of(value) for value in row] for row in rows])
    lines = table.get_string().split("\n")
    yield from lines if rows else [*lines, lines[-1]]


def grid_width(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    """Tell how many columns of a terminal a grid takes."""
    columns = zip(headers, *rows, strict=True)
    return 1 + sum(3 + max(_width(text_of(value)) for value in column) for column in columns)


def _is_number_column(rows: Sequence[Sequence[object]], number: int) -> bool:
    values = [row[number] for row in rows if row[number] is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # as prettytable measures

    return max(wcswidth(text), 0)
