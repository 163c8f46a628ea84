"""The only printer: data on standard output, errors, notes and progress on standard error."""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TextIO, get_args

import msgspec

from dbmod import errors
from dbmod.cli import layout

Format = Literal["table", "json", "yaml", "csv", "value"]
FORMATS: tuple[Format, ...] = get_args(Format)
STRUCTURED = ("json", "yaml")
_unread: set[str] = set()  # streams whose readers have gone
_secrets: list[str] = []  # what this process was told and a trace must not show


class View(msgspec.Struct, frozen=True, kw_only=True):
    """How the user wants data to be shown.

    columns  only these; () shows all
    """

    format: Format = "table"
    columns: tuple[str, ...] = ()


def table(view: View, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, further: Sequence[str] = ()) -> None:
    """Print a list of things.

    rows     a value for each of *columns*, then one for each of *further*
    further  columns that only json and yaml show unasked
    """
    names = [*columns, *further]
    picked = _picked(view, names, default=len(names) if view.format in STRUCTURED else len(columns))
    headers = [names[number] for number in picked]
    chosen = [[row[number] for number in picked] for row in rows]
    if view.format in STRUCTURED:
        _structured(view.format, [dict(zip(headers, row, strict=True)) for row in chosen])
    elif view.format == "csv":
        _csv([headers, *chosen])
    elif view.format == "value":
        _lines(" ".join(layout.text_of(value) for value in row) for row in chosen)
    else:
        _lines(layout.grid(headers, chosen))


def properties(view: View, values: Mapping[str, Any], *, further: Mapping[str, Any] | None = None) -> None:
    """Print one thing, its properties sorted by name.

    further  properties that only json and yaml show unasked
    """
    everything = {**values, **(further or {})}
    names = sorted(everything if view.format in STRUCTURED or view.columns else values)
    chosen = {names[number]: everything[names[number]] for number in _picked(view, names, default=len(names))}
    if view.format in STRUCTURED:
        _structured(view.format, chosen)
    elif view.format == "csv":
        _csv([["Property", "Value"], *chosen.items()])
    elif view.format == "value":
        _lines(layout.text_of(value) for value in chosen.values())
    else:
        _lines(layout.grid(["Property", "Value"], list(chosen.items()), align_numbers=False))


def line(text: str) -> None:
    """Print one line of data."""
    _lines([layout.visible(text)])


def has_reader() -> bool:
    """Tell whether what was printed so far found a reader, for what would print for ever."""
    return "out" not in _unread


def text(block: str) -> None:
    """Print a block of dbmod's own making as it is: a completion script."""
    _write("out", block)


def note(text: str) -> None:
    """Say something beside the data."""
    _write("err", layout.visible(text) + "\n")


def note_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Show a table beside the data."""
    _write("err", "".join(row + "\n" for row in layout.grid(columns, rows)))


def error(lines: Sequence[str]) -> None:
    """Say what went wrong: the first line behind `ERROR: `."""
    first, *rest = [layout.visible(one) for one in lines]
    red, plain = ("\033[31m", "\033[0m") if has_colour(sys.stderr) else ("", "")
    _write("err", "".join(one + "\n" for one in [f"{red}ERROR:{plain} {first}", *rest]))


def trace(problem: BaseException) -> None:
    """Show where an error came from, for --debug, secrets removed."""
    import traceback

    shown = "".join(traceback.format_exception(problem))
    hidden = [os.environ.get(name, "") for name in ("DBMOD_KEY", "DBMOD_PREVIOUS_KEY", "DBMOD_LEDGER")] + _secrets
    for secret in sorted({one for one in hidden if one}, key=len, reverse=True):
        shown = shown.replace(secret, "********")
    _write("err", "".join(layout.visible(one) + "\n" for one in shown.splitlines()))


def hide(secret: str) -> None:
    """Keep a secret out of what `trace` shows."""
    _secrets.append(secret)


def has_colour(stream: TextIO | None) -> bool:
    """Tell whether colours are wanted there: on a terminal that knows them, unless NO_COLOR is set."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def width() -> int:
    """Tell how many columns the terminal has; 80 where there is none and COLUMNS does not say."""
    return shutil.get_terminal_size().columns


def finish() -> None:
    """Hand over what is still buffered; a reader that has gone is no error."""
    _write("out", "")


def _picked(view: View, names: Sequence[str], *, default: int) -> list[int]:
    unknown = [name for name in view.columns if name not in names]
    if unknown:
        raise errors.BadInput(f"There is no column {', '.join(unknown)} here.", details={"columns": ", ".join(names)})
    return [number for number, name in enumerate(names) if name in view.columns] or list(range(default))


def _structured(style: str, data: Any) -> None:
    if style == "json":
        import json

        _write("out", json.dumps(data, indent=2) + "\n")
        return
    import yaml

    _write("out", yaml.safe_dump(data, sort_keys=False, default_flow_style=False))


def _csv(rows: Sequence[Sequence[Any]]) -> None:
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    for row in rows:
        writer.writerow([one if type(one) in (int, float) else layout.text_of(one) for one in row])
    _write("out", buffer.getvalue())


def _lines(lines: Iterable[str]) -> None:
    _write("out", "".join(one + "\n" for one in lines))


def _write(where: Literal["out", "err"], text: str) -> None:
    """Write and flush. A closed pipe is quiet, so that `dbmod list | head -1` ends as the command itself did."""
    stream = sys.stdout if where == "out" else sys.stderr
    if stream is None or stream.closed:
        return
    try:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as problem:
        _silence(where)
        if not isinstance(problem, BrokenPipeError) and where == "out":
            raise errors.Failed(f"The output cannot be written: {problem.strerror}.") from problem


def _silence(where: Literal["out", "err"]) -> None:
    """Let nothing more be written there: not by us, nor by Python's own flush at the end, which would complain."""
    _unread.add(where)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1 if where == "out" else 2)
    os.close(nowhere)
