"""What the tests of the catalogue share: items, one mutation at a time, and damage."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.items import Item, metadata_json
from clipsearch.catalogue.mutations import Applied, Change, Mutation, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.schema import catalogue_file
from clipsearch.catalogue.writer import CatalogueWriter

D = 8
HASH = "ab" * 32


def vector(seed: int) -> NDArray[np.float16]:
    return np.random.default_rng(seed).standard_normal(D).astype(np.float16)


def item(item_id: str, seed: int = 0, **metadata: object) -> Item:
    return Item(item_id, metadata_json(metadata), vector(seed), content_hash=bytes([seed % 256]), uri=f"{item_id}.jpg")


def apply_one(writer: CatalogueWriter, mutation: Mutation) -> Applied:
    (applied,) = writer.apply([mutation])
    assert isinstance(applied, Applied), applied
    return applied


def row_of(reader: CatalogueReader, item_id: str) -> int | None:
    """The row of a live item, None where there is no such id."""
    stored = reader.get(item_id)
    return None if stored is None else stored.row


def fill(collection: Path, *items: Item) -> None:
    with CatalogueWriter(collection, D, HASH) as writer:
        assert apply_one(writer, Upsert(items)).outcomes == (Change.CREATED,) * len(items)


def reasons(applied: Applied) -> list[str]:
    """What became of each item: the change, or the reason of its error."""
    return [outcome.value if isinstance(outcome, Change) else outcome.reason for outcome in applied.outcomes]


def flip_embedding(collection: Path, row: int) -> None:
    """Flip one bit of a stored embedding, as a bad disk does, behind the back of its checksum."""
    with closing(sqlite3.connect(catalogue_file(collection))) as connection, connection:
        (blob,) = connection.execute("SELECT embedding FROM items WHERE row = ?", (row,)).fetchone()
        damaged = bytes([blob[0] ^ 1]) + blob[1:]
        connection.execute("UPDATE items SET embedding = ? WHERE row = ?", (damaged, row))
