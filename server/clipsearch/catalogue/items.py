"""What may be in an item: ids, metadata and vectors, checked before anything is written."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.schema import MAX_ID_BYTES
from clipsearch.errors import (
    BadItemId,
    BadMetadata,
    BadVector,
    ClipsearchError,
    DuplicateId,
    InvalidInput,
    WrongDimension,
)

MAX_METADATA_BYTES = 65_536
"""Longest metadata of one item, as compact JSON in UTF-8."""

MAX_URI_BYTES = 2_048
"""Longest uri of one item in UTF-8."""

_INFINITE = 0x7C00
"""Bits of float16 infinity; with the sign cleared, NaN is above it and every number below."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item to write.

    ``metadata`` is a JSON object (``metadata_json`` makes it); ``content_hash`` identifies what was embedded, None
    where the embedding itself is what to compare; ``embedding`` is float16 [dimension] of unit length, None to keep the
    one that is stored, with its content hash.
    """

    id: str
    metadata: str
    embedding: NDArray[np.float16] | None
    content_hash: bytes | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored about an item that lives.

    ``embedding`` is float16 little-endian; it and ``content_hash`` are None where it does not match its checksum, so
    that the same content is written again rather than passed over.
    """

    row: int
    metadata: str
    uri: str | None
    content_hash: bytes | None
    embedding: bytes | None


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """An item that may be written: ``metadata`` in its one spelling, ``embedding`` as bytes, None to keep the old."""

    id: str
    metadata: str
    uri: str | None
    content_hash: bytes | None
    embedding: bytes | None


def check_id(item_id: str) -> None:
    """Raise BadItemId unless ``item_id`` has 1 to 256 bytes of printable Unicode."""
    try:
        size = len(item_id.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BadItemId(f"item id {item_id!r} is not valid Unicode", field="id") from error
    if not 1 <= size <= MAX_ID_BYTES:
        raise BadItemId(f"an item id has 1 to {MAX_ID_BYTES} bytes of UTF-8, this one {size}", field="id")
    # Control characters break logs, tables and line formats, and are always a mistake in the data.
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in item_id):
        raise BadItemId(f"item id {item_id!r} holds control characters", field="id")


def metadata_json(metadata: Mapping[str, object]) -> str:
    """Return a metadata object as compact JSON; raises BadMetadata where it is none, or too large.

    Names are sorted, so that equal objects are equal texts: JSON objects have no order, and a Protobuf map that comes
    in another one is no change.
    """
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMetadata(f"metadata cannot be stored as JSON: {error}", field="metadata") from error
    if size > MAX_METADATA_BYTES:
        raise BadMetadata(f"metadata has {size} bytes, the most is {MAX_METADATA_BYTES}", field="metadata")
    return text


def checksum(embedding: bytes) -> int:
    """Return the CRC-32 of an embedding's bytes, which catches every flip of up to three bits in a kilobyte."""
    return zlib.crc32(embedding)


def check_items(items: Sequence[Item], dimension: int) -> list[CheckedItem | ClipsearchError]:
    """Return each item as it may be written, or what is wrong with it; of two with one id the second is wrong."""
    blobs = _embeddings(items, dimension)
    seen: set[str] = set()
    checked: list[CheckedItem | ClipsearchError] = []
    for item, blob in zip(items, blobs, strict=True):
        try:
            checked.append(_check(item, blob, seen))
        except InvalidInput as error:
            checked.append(error)
    return checked


def _check(item: Item, blob: bytes | InvalidInput | None, seen: set[str]) -> CheckedItem:
    check_id(item.id)
    if item.id in seen:
        raise DuplicateId(f"item id {item.id!r} comes twice", field="id")
    seen.add(item.id)
    if isinstance(blob, InvalidInput):
        raise blob
    if item.uri is not None and not _fits(item.uri, MAX_URI_BYTES):
        raise InvalidInput(f"a uri has at most {MAX_URI_BYTES} bytes of valid UTF-8", field="uri")
    return CheckedItem(item.id, metadata_json(_parse(item.metadata)), item.uri, item.content_hash, blob)


def _parse(metadata: str) -> Mapping[str, object]:
    try:
        value = json.loads(metadata)
    except (ValueError, RecursionError) as error:
        raise BadMetadata(f"metadata is not valid JSON: {error}", field="metadata") from error
    if not isinstance(value, dict):
        raise BadMetadata("metadata is not a JSON object", field="metadata")
    return value


def _fits(text: str, most: int) -> bool:
    try:
        return len(text.encode("utf-8")) <= most
    except UnicodeEncodeError:
        return False


def _embeddings(items: Sequence[Item], dimension: int) -> list[bytes | InvalidInput | None]:
    """Return each embedding as little-endian bytes, what is wrong with it, or None where there is none."""
    found: list[bytes | InvalidInput | None] = [None] * len(items)
    at, given = [], []
    for i, item in enumerate(items):
        if item.embedding is None:
            continue
        if item.embedding.shape != (dimension,):
            message = f"the vector has {item.embedding.size} coordinates instead of {dimension}"
            found[i] = WrongDimension(message, field="embedding")
            continue
        at.append(i)
        given.append(item.embedding)
    if given:
        with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinity, and is found below
            stacked = np.stack(given).astype("<f2", copy=False)
        # On the bits, because numpy has no fast arithmetic for float16.
        bits = stacked.view("<u2") & 0x7FFF
        infinite, zero = bits.max(axis=1) >= _INFINITE, bits.max(axis=1) == 0
        for i, vector, is_infinite, is_zero in zip(at, stacked, infinite.tolist(), zero.tolist(), strict=True):
            if is_infinite:
                found[i] = BadVector("the vector holds NaN or infinity", field="embedding")
            elif is_zero:
                found[i] = BadVector("the vector has no length, so no direction", field="embedding")
            else:
                found[i] = vector.tobytes()
    return found
