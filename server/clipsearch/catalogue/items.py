"""What may be in an item: ids, metadata and vectors, checked before anything is written."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.schema import MAX_ID_BYTES
from clipsearch.errors import InvalidInput

MAX_METADATA_BYTES = 65_536
"""Longest metadata of one item, as compact JSON in UTF-8."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item to write.

    ``metadata`` is a compact JSON object (``metadata_json`` makes it); ``content_hash`` identifies what was embedded,
    None where there is nothing to compare; ``embedding`` is float16 [dimension] of unit length, None to keep the one
    that is stored.
    """

    id: str
    metadata: str
    embedding: NDArray[np.float16] | None
    content_hash: bytes | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored about an item, but for its embedding."""

    row: int
    metadata: str
    content_hash: bytes | None
    uri: str | None


def check_id(item_id: str) -> None:
    """Raise InvalidInput unless ``item_id`` has 1 to 256 bytes of printable Unicode."""
    try:
        size = len(item_id.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidInput(f"item id {item_id!r} is not valid Unicode", field="id") from error
    if not 1 <= size <= MAX_ID_BYTES:
        raise InvalidInput(f"an item id has 1 to {MAX_ID_BYTES} bytes of UTF-8, this one {size}", field="id")
    # Control characters break logs, tables and line formats, and are always a mistake in the data.
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in item_id):
        raise InvalidInput(f"item id {item_id!r} holds control characters", field="id")


def metadata_json(metadata: Mapping[str, object]) -> str:
    """Return a metadata object as compact JSON; raises InvalidInput where it is none, or too large."""
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"metadata cannot be stored as JSON: {error}", field="metadata") from error
    if size > MAX_METADATA_BYTES:
        raise InvalidInput(f"metadata has {size} bytes, the most is {MAX_METADATA_BYTES}", field="metadata")
    return text


def checksum(embedding: bytes) -> int:
    """Return the CRC-32 of an embedding's bytes, which catches every flip of up to three bits in a kilobyte."""
    return zlib.crc32(embedding)
