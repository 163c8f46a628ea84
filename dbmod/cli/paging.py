"""One page of a list. Pure."""

from collections.abc import Sequence
from typing import TypeVar

from dbmod import errors, names
from dbmod.records import Cluster, Instance

T = TypeVar("T", Instance, Cluster)


def page(things: Sequence[T], *, limit: int | None, marker: str | None) -> list[T]:
    """Give the things behind the marker, at most *limit* of them, sorted by name and id.

    marker  the id of the last one of the page before
    """
    ordered = sorted(things, key=lambda one: (names.natural_key(one.name), one.id))
    start = 0
    if marker is not None:
        places = [number for number, one in enumerate(ordered) if one.id == marker]
        if not places:
            raise errors.BadInput(f"The marker '{marker}' is not in this list.", next_step="give the last id of a page")
        start = places[0] + 1
    return list(ordered[start : None if limit is None else start + limit])
