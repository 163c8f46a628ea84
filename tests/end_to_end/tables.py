"""Reading the tables that `dbmod` prints, as a user sees them."""

import re

Row = dict[str, str]


def rows(text: str) -> list[Row]:
    """Give the rows of the first ASCII table in *text*, column name → cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    headers = cells(lines[0])
    return [dict(zip(headers, cells(line), strict=True)) for line in lines[1:]]


def columns(text: str) -> list[str]:
    return cells(next(line for line in text.splitlines() if line.startswith("|")))


def properties(text: str) -> Row:
    """Give a Property/Value table as one mapping."""
    return {row["Property"]: row["Value"] for row in rows(text)}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def is_framed(text: str) -> bool:
    """Tell whether a table stands in the guide's frame: rules of + and -, all lines of one width."""
    lines = [line for line in text.splitlines() if line.startswith(("|", "+"))]
    return bool(re.fullmatch(r"\+(-+\+)+", lines[0])) and len({len(line) for line in lines}) == 1
