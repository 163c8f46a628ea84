"""YAML from users: small, without aliases, without duplicate keys, with line and column in every refusal."""

from pathlib import Path
from typing import Any

import yaml

from dbmod import errors

SIZE_LIMIT_BYTES = 1 << 20
DEPTH_LIMIT = 20


class _Loader(yaml.SafeLoader):
    """Safe, and closed to the constructs that blow a small file up."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not allowed", event.start_mark)
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise _refusal(f"nested deeper than {DEPTH_LIMIT}", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803  (PyYAML's name)
        if self.flow_level >= DEPTH_LIMIT:  # here already: the scanner looks 1024 brackets ahead, which takes 90 ms
            raise _refusal(f"nested deeper than {DEPTH_LIMIT}", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise _refusal("a key must be text or a number", key_node.start_mark)
            if key in seen:
                raise _refusal(f"the key {key!r} is twice here", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(path: Path) -> Any:
    """Read one YAML document.

    Raises BadInput that names file, line and column
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise errors.BadInput(f"{path} cannot be read: {error.strerror}") from error
    return parse(data, origin=path)


def parse(data: bytes, *, origin: Path | str) -> Any:
    """Read one YAML document that is there already. Raises as `read` does; origin is what it names."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise errors.BadInput(f"{origin} is larger than {SIZE_LIMIT_BYTES} bytes")
    try:
        return yaml.load(data, _Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise errors.BadInput(f"{origin}:{where} {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line, column = _place(data, error)
        raise errors.BadInput(f"{origin}: line {line}, column {column}: {error.reason}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise errors.BadInput(f"{origin}: not YAML: {type(error).__name__}") from error


def _refusal(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _place(data: bytes, error: yaml.reader.ReaderError) -> tuple[int, int]:
    """Give line and column of bytes that are no text. The position counts characters where they were decoded."""
    if error.encoding == "unicode":
        before = data.decode(errors="replace")[: error.position]
    else:
        before = data[: error.position].decode(errors="replace")
    return before.count("\n") + 1, len(before) - before.rfind("\n")
