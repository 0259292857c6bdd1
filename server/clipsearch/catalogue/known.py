"""What is stored about items, looked up by id: what a write is compared with."""

from collections.abc import Iterable
from typing import Any

from clipsearch.catalogue.items import Known, checksum
from clipsearch.catalogue.schema import LIVE

OF_THESE = f"{LIVE} AND id IN (SELECT value FROM json_each(?))"
"""Live items of the ids in a JSON list."""

SELECT_KNOWN = f"SELECT id, row, metadata, uri, content_hash, embedding, checksum FROM {OF_THESE}"
"""Selects what ``known_items`` takes."""


def known_items(found: Iterable[tuple[Any, ...]], dimension: int) -> dict[str, Known]:
    """Return what is stored by id; of a damaged embedding neither itself nor its content hash."""
    known = {}
    for item_id, row, metadata, uri, content_hash, embedding, expected in found:
        intact = len(embedding) == 2 * dimension and checksum(embedding) == expected
        known[item_id] = Known(row, metadata, uri, content_hash if intact else None, embedding if intact else None)
    return known
