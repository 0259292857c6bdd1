"""Between the catalogue's values of ``types`` and its messages; pure but for reading picture files."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import struct_pb2, timestamp_pb2

from clipsearch import floats
from clipsearch.client import convert
from clipsearch.client.errors import ClientError, Internal, InvalidArgument, from_status
from clipsearch.client.types import (
    CollectionStats,
    Facets,
    FacetValue,
    FieldFacet,
    IndexStats,
    Item,
    NewItem,
    Outcome,
    Upserted,
)
from clipsearch.v1 import catalogue_pb2 as pb

_OUTCOMES: Mapping[int, Outcome] = {
    pb.UPSERT_OUTCOME_CREATED: "created",
    pb.UPSERT_OUTCOME_UPDATED: "updated",
    pb.UPSERT_OUTCOME_UNCHANGED: "unchanged",
}

_MAX_WHOLE = 2**53
"""Whole numbers up to here survive the wire's double precision."""

_MAX_DEPTH = 30
"""Protobuf reads messages that are nested at most 100 deep, and a level of a Struct takes three."""


def upsert_item(item: NewItem) -> pb.UpsertItem:
    """Make the message of one item; reads the files of paths (OSError where it can't).

    Raises InvalidArgument for metadata that JSON has no word for.
    """
    message = pb.UpsertItem(id=item.id, uri=item.uri, metadata=_struct(item.metadata))
    if item.text is not None:
        message.text = item.text
    elif item.image is not None:
        pictures = [item.image] if isinstance(item.image, bytes | Path) else item.image
        message.images.CopyFrom(pb.Images(images=[convert.picture_bytes(picture) for picture in pictures]))
    elif item.vector is not None:
        floats.pack(np.asarray(item.vector, np.float32), message.vector.float32)
    return message


def reads_files(item: NewItem) -> bool:
    """Return whether making the item's message reads files."""
    if item.image is None or isinstance(item.image, bytes):
        return False
    return isinstance(item.image, Path) or any(isinstance(picture, Path) for picture in item.image)


def _struct(metadata: Mapping[str, Any]) -> struct_pb2.Struct:
    # Checked here rather than left to the server, which gets what came of it: a Struct holds NaN, but JSON does not,
    # and its numbers are doubles.
    _check(dict(metadata), "metadata", _MAX_DEPTH)
    struct = struct_pb2.Struct()
    struct.update(metadata)
    return struct


def _check(value: object, path: str, levels: int) -> None:
    """Raise InvalidArgument unless JSON and a Struct's doubles can hold a value as it is, in so many levels."""
    if levels == 0:
        raise _unusable(path, f"is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _unusable(path, f"has the key {key!r}, which is no text")
            _check(inner, f"{path}.{key}", levels - 1)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            _check(inner, f"{path}[{place}]", levels - 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _unusable(path, f"is {value}, which JSON does not know")
    elif isinstance(value, int):
        if abs(value) > _MAX_WHOLE:
            raise _unusable(path, "is a whole number beyond 2**53, which would be rounded; give it as text")
    elif value is not None and not isinstance(value, str):
        raise _unusable(path, f"is of the type {type(value).__name__}, which JSON does not know")


def _unusable(path: str, what: str) -> ClientError:
    return InvalidArgument(f"{path} {what}", code=grpc.StatusCode.INVALID_ARGUMENT, reason="METADATA_NOT_USABLE")


def outcomes(message: pb.UpsertItemsResponse) -> list[Outcome | ClientError]:
    """Return what became of each item that was sent."""
    return [
        from_status(result.error) if result.WhichOneof("result") == "error" else _outcome(result.outcome)
        for result in message.results
    ]


def _outcome(value: int) -> Outcome:
    if value not in _OUTCOMES:
        raise not_understood(f"the outcome {value} of an item")
    return _OUTCOMES[value]


def upserted(message: pb.UpsertItemsResponse, results: list[Outcome | ClientError]) -> Upserted:
    """Return the answer to one batch, whose items' results are ``results``."""
    return Upserted(tuple(results), message.sequence_number, convert.timings(message.timings))


def item(message: pb.Item, with_embedding: bool) -> Item:
    """Return a stored item."""
    return Item(
        id=message.id,
        metadata=convert.plain(message.metadata),
        uri=message.uri,
        sequence_number=message.sequence_number,
        vector=convert.vector(message.embedding) if with_embedding else None,
    )


def facets(message: pb.GetFacetsResponse) -> Facets:
    """Return what a collection's metadata hold."""
    return Facets({field.field: _field_facet(field) for field in message.fields}, message.sequence_number)


def _field_facet(message: pb.FieldFacet) -> FieldFacet:
    return FieldFacet(
        name=message.field,
        values=tuple(FacetValue(convert.plain_value(value.value), value.count) for value in message.values),
        minimum=message.minimum if message.HasField("minimum") else None,
        maximum=message.maximum if message.HasField("maximum") else None,
        items=message.items,
        more_values=message.more_values,
    )


def collection_stats(message: pb.GetCollectionStatsResponse) -> CollectionStats:
    """Return the sizes of a collection."""
    return CollectionStats(
        items=message.items,
        tombstones=message.tombstones,
        delta_items=message.delta_items,
        sequence_number=message.sequence_number,
        dimension=message.dimension,
        disk_bytes=message.disk_bytes,
        damaged_rows=message.damaged_rows,
        identity=message.identity,
        weight_hash=message.weight_hash,
        index=index_stats(message.index) if message.HasField("index") else None,
    )


def index_stats(message: pb.IndexStats) -> IndexStats:
    """Return a derived index."""
    return IndexStats(
        sequence_number=message.sequence_number,
        kind=message.kind,
        size=message.size,
        nlist=message.nlist,
        code_bytes=message.code_bytes,
        nprobe=message.nprobe,
        image_recall=message.image_recall if message.HasField("image_recall") else None,
        text_recall=message.text_recall if message.HasField("text_recall") else None,
        build_time=point_in_time(message.build_time),
        trained_sequence_number=(
            message.trained_sequence_number if message.HasField("trained_sequence_number") else None
        ),
    )


def not_understood(what: str) -> ClientError:
    """Return the error for something that only a newer server says."""
    return Internal(f"the server sent {what}, which this client does not know", code=grpc.StatusCode.INTERNAL)


def point_in_time(message: timestamp_pb2.Timestamp) -> datetime:
    """Return a point in time, in UTC."""
    return message.ToDatetime(tzinfo=UTC)
