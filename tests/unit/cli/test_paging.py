"""Pages of a list."""

from datetime import UTC, datetime

import pytest

from dbmod import errors
from dbmod.cli import paging
from dbmod.records import Cluster

AT = datetime(2026, 1, 1, tzinfo=UTC)


def cluster(key: str, name: str) -> Cluster:
    return Cluster(
        id=key,
        name=name,
        tenant="t",
        provider="local",
        datastore="redis",
        datastore_version="7",
        region="r",
        locality=None,
        task_name="NONE",
        task_description="",
        created_at=AT,
        updated_at=AT,
    )


THINGS = [cluster("3", "b"), cluster("2", "a"), cluster("1", "b"), cluster("4", "c")]


def ids(**options: object) -> list[str]:
    return [one.id for one in paging.page(THINGS, **{"limit": None, "marker": None, **options})]  # type: ignore[arg-type]


def test_numbers_in_names_are_sorted_as_people_count() -> None:
    things = [cluster("1", "db-10"), cluster("2", "db-2"), cluster("3", "db-1")]
    assert [one.name for one in paging.page(things, limit=2, marker="3")] == ["db-2", "db-10"]


def test_all_come_by_name_then_id() -> None:
    assert ids() == ["2", "1", "3", "4"]


def test_pages_join_to_the_whole() -> None:
    pages, marker = [], None
    while page := ids(limit=3, marker=marker):
        pages.append(page)
        marker = page[-1]
    assert pages == [["2", "1", "3"], ["4"]]


def test_an_unknown_marker_is_refused() -> None:
    with pytest.raises(errors.BadInput, match="The marker 'x' is not in this list"):
        ids(marker="x")
