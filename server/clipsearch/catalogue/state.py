"""All items of one moment, in blocks, while others write."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from clipsearch.catalogue.failures import storage_errors
from clipsearch.catalogue.items import checksum
from clipsearch.catalogue.schema import LIVE, catalogue_file, connect_reader

# In the order of the file, so that the disk is read from front to back.
_ITEMS = (
    "SELECT id, metadata, uri, content_hash, embedding, checksum FROM items NOT INDEXED "
    "WHERE deleted_seq IS NULL ORDER BY row"
)


@dataclass(frozen=True, slots=True)
class StateItem:
    """A live item as it is stored: ``embedding`` is float16 little-endian, ``checksum`` the CRC-32 of it."""

    id: str
    metadata: str
    uri: str | None
    content_hash: bytes | None
    embedding: bytes
    checksum: int


@dataclass(frozen=True, slots=True)
class StateBlock:
    """The next items by row, and the ids of those between them whose embeddings do not match their checksums."""

    items: list[StateItem]
    damaged: list[str]


@dataclass(frozen=True, slots=True)
class State:
    """A collection at sequence number ``seq``: how many items live, and all of them in ``blocks``, to be read once."""

    seq: int
    live: int
    dimension: int
    model_hash: str | None
    blocks: Iterator[StateBlock]


@contextmanager
def catalogue_state(collection: Path, block: int) -> Iterator[State]:
    """Give the state of a collection directory as it is now, ``block`` rows at a time.

    One read transaction on a connection of its own: writers and readers go on, and nothing of what they do is seen. The
    log cannot be folded into the file meanwhile, so it grows by what is written. Raises UnusableIndex where the file
    cannot be opened, StorageFailed where the disk fails.
    """
    path = catalogue_file(collection)
    with closing(connect_reader(path)) as connection, storage_errors(path):
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        (live,) = connection.execute(f"SELECT count(*) FROM {LIVE}").fetchone()
        dimension = int(meta["dimension"])
        blocks = _blocks(connection, dimension, block)
        yield State(int(meta["seq"]), int(live), dimension, meta.get("model_hash"), blocks)


def _blocks(connection: sqlite3.Connection, dimension: int, size: int) -> Iterator[StateBlock]:
    cursor = connection.execute(_ITEMS)
    while rows := cursor.fetchmany(size):
        items = [StateItem(*row) for row in rows]
        intact = [len(item.embedding) == 2 * dimension and checksum(item.embedding) == item.checksum for item in items]
        yield StateBlock(
            [item for item, whole in zip(items, intact, strict=True) if whole],
            [item.id for item, whole in zip(items, intact, strict=True) if not whole],
        )
