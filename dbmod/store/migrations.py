"""Older formats of the ledger, made into the present one record by record.

A change of records.py that old bytes do not satisfy (a field without a default, a new name) raises head.FORMAT by one
and adds a step here. Reading takes the steps in memory; the next commit writes the whole ledger in the new format.
"""

from collections.abc import Callable
from typing import Any

import msgspec

Document = dict[str, Any]
STEPS: dict[int, Callable[[str, Document], Document]] = {}  # format → (table, record) → the record one format later


def migrated(table: str, documents: dict[str, msgspec.Raw], *, found: int, wanted: int) -> dict[str, msgspec.Raw]:
    """Take every record of a shard from the format *found* to the format *wanted*."""
    result = {}
    for key, raw in documents.items():
        document = msgspec.json.decode(raw)
        for number in range(found, wanted):
            document = STEPS[number](table, document)
        result[key] = msgspec.Raw(msgspec.json.encode(document))
    return result
