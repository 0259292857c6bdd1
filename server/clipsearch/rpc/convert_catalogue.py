"""The catalogue's messages to plain values and back."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.json_format import MessageToDict

from clipsearch.errors import BadMetadata, ClipsearchError
from clipsearch.rpc import convert
from clipsearch.rpc.status import to_status
from clipsearch.services.catalogue import Change, CollectionStats, Content, ImagesInput, NewItem, StoredItem, Written
from clipsearch.services.embed import TextInput
from clipsearch.services.facets import Counted, FieldFacet
from clipsearch.services.jobs import IndexManifest
from clipsearch.services.query import VectorInput
from clipsearch.services.recall import LiveRecall, QueryKind
from clipsearch.v1 import catalogue_pb2 as pb

_OUTCOMES = {
    Change.CREATED: pb.UPSERT_OUTCOME_CREATED,
    Change.UPDATED: pb.UPSERT_OUTCOME_UPDATED,
    Change.UNCHANGED: pb.UPSERT_OUTCOME_UNCHANGED,
}

_KINDS = {
    QueryKind.TEXT: pb.QUERY_KIND_TEXT,
    QueryKind.IMAGE: pb.QUERY_KIND_IMAGE,
    QueryKind.VECTOR: pb.QUERY_KIND_VECTOR,
}

# Numbers up to here are whole in both JSON and Protobuf's Struct, which knows doubles only.
_MAX_WHOLE = 2.0**53


def new_items(messages: Sequence[pb.UpsertItem]) -> list[NewItem | ClipsearchError]:
    """The items of a request, each or what is wrong with it."""
    items: list[NewItem | ClipsearchError] = []
    for message in messages:
        try:
            items.append(NewItem(message.id, _content(message), metadata_of(message.metadata), message.uri or None))
        except ClipsearchError as error:
            items.append(error)
    return items


def _content(message: pb.UpsertItem) -> Content | None:
    kind = message.WhichOneof("content")
    if kind == "images":
        return ImagesInput(list(message.images.images))
    if kind == "text":
        return TextInput(message.text)
    if kind == "vector":
        return VectorInput(convert.vector_of(message.vector))
    return None


def metadata_of(struct: struct_pb2.Struct) -> dict[str, object]:
    """A Struct as JSON would have it: whole numbers as integers. Raises BadMetadata for NaN and infinity."""
    try:
        plain = _whole(MessageToDict(struct))
    except (ValueError, RecursionError) as error:  # json_format's own errors are ValueErrors
        raise BadMetadata(f"metadata cannot be stored as JSON: {error}", field="metadata") from error
    assert isinstance(plain, dict), "a Struct is an object"
    return plain


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_WHOLE:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return value


def upsert_response(written: Written, started: float) -> pb.UpsertItemsResponse:
    """What became of each item of a request."""
    results = [
        pb.UpsertResult(error=to_status(outcome.at(f"items[{i}]")))
        if isinstance(outcome, ClipsearchError)
        else pb.UpsertResult(outcome=_OUTCOMES[outcome])
        for i, outcome in enumerate(written.outcomes)
    ]
    timings = convert.timings(written.stages, started)
    return pb.UpsertItemsResponse(results=results, sequence_number=written.seq, timings=timings)


def item(stored: StoredItem, format_: int) -> pb.Item:
    """A stored item; its embedding where it was read."""
    message = pb.Item(id=stored.id, uri=stored.uri or "", sequence_number=stored.seq)
    message.metadata.CopyFrom(convert.struct_of(stored.metadata))
    if stored.embedding is not None:
        message.embedding.CopyFrom(convert.embedding(stored.embedding.astype("<f4"), format_))
    return message


def facets_response(counted: Counted) -> pb.GetFacetsResponse:
    """What the metadata of a collection hold."""
    fields = [_field_facet(name, facet) for name, facet in counted.fields]
    return pb.GetFacetsResponse(fields=fields, sequence_number=counted.seq)


def _field_facet(name: str, facet: FieldFacet) -> pb.FieldFacet:
    message = pb.FieldFacet(
        field=name, items=facet.items, minimum=facet.minimum, maximum=facet.maximum, more_values=facet.more_values
    )
    for value in facet.values:
        counted = message.values.add(count=value.count)
        match value.value:
            case str():
                counted.value.string_value = value.value
            case bool():
                counted.value.bool_value = value.value
            case _:
                counted.value.number_value = value.value
    return message


def stats_response(stats: CollectionStats, recall: Mapping[QueryKind, LiveRecall]) -> pb.GetCollectionStatsResponse:
    """Sizes of a collection and the recall of its live queries."""
    return pb.GetCollectionStatsResponse(
        identity=stats.identity,
        weight_hash=stats.weight_hash or "",
        items=stats.items,
        tombstones=stats.tombstones,
        delta_items=stats.delta,
        sequence_number=stats.seq,
        dimension=stats.dimension,
        disk_bytes=stats.disk_bytes,
        damaged_rows=stats.damaged,
        index=None if stats.index is None else index_stats(stats.index),
        live_recall=[
            pb.LiveRecall(query_kind=_KINDS[kind], queries=one.queries, recall=one.recall)
            for kind, one in recall.items()
        ],
    )


def index_stats(manifest: IndexManifest) -> pb.IndexStats:
    """A derived index, as its manifest tells."""
    built_at = timestamp_pb2.Timestamp()
    built_at.FromDatetime(datetime.fromisoformat(manifest.built_at))
    message = pb.IndexStats(sequence_number=manifest.seq, kind=manifest.kind, size=manifest.size, build_time=built_at)
    if manifest.ivfpq is not None:
        message.nlist, message.code_bytes = manifest.ivfpq.nlist, manifest.ivfpq.m
        message.nprobe = manifest.ivfpq.nprobe
        message.trained_sequence_number = manifest.ivfpq.training.seq
    if manifest.image_recall is not None:
        message.image_recall = manifest.image_recall.recall
    if manifest.text_recall is not None:
        message.text_recall = manifest.text_recall.recall
    return message
