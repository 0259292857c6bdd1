"""Messages to plain values and back."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import struct_pb2
from grpc import aio
from numpy.typing import NDArray

from clipsearch import floats
from clipsearch.errors import BadVector, ClipsearchError, InvalidInput, MissingInput, UnknownEnumValue
from clipsearch.ports import Priority
from clipsearch.rpc.callers import Caller
from clipsearch.rpc.status import to_status
from clipsearch.services.call import Call, Stages
from clipsearch.services.embed import Embedded, EmbedInput, ImageInput, TextInput
from clipsearch.services.query import ItemInput, QueryInput, SearchQuery, Term, VectorInput
from clipsearch.services.search import Found
from clipsearch.services.serving import ModelFacts
from clipsearch.services.shaping import Shape
from clipsearch.v1 import common_pb2, embedding_pb2, search_pb2

DEFAULT_TOP_K = 10

_PRIORITIES: dict[int, Priority | None] = {
    common_pb2.PRIORITY_UNSPECIFIED: None,
    common_pb2.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    common_pb2.PRIORITY_BULK: Priority.BULK,
}
_FORMATS = frozenset(common_pb2.EmbeddingFormat.values())
_VIEWS = frozenset(search_pb2.View.values())


def call_of(context: aio.ServicerContext[Any, Any], priority: int, default: Priority) -> Call:
    """The standing of a request, from its message and its deadline."""
    started = time.monotonic()
    try:
        chosen = _PRIORITIES[priority]
    except KeyError:
        raise UnknownEnumValue(f"priority {priority} is not known", field="priority") from None
    remaining = context.time_remaining()
    deadline = float("inf") if remaining is None else started + remaining
    return Call(chosen or default, deadline, started, Caller(context))


def model(facts: ModelFacts) -> embedding_pb2.Model:
    """What callers are told of a model."""
    return embedding_pb2.Model(
        source=facts.source,
        weight_hash=facts.weight_hash,
        dimension=facts.dimension,
        context_length=facts.context_length,
        image_size=facts.image_size,
        precision=facts.precision,
        logit_scale=facts.logit_scale,
    )


def check_format(value: int) -> int:
    """Raise UnknownEnumValue for an EmbeddingFormat that this server does not know; returns it."""
    if value not in _FORMATS:
        raise UnknownEnumValue(f"embedding format {value} is not known", field="format")
    return value


def embed_input(message: embedding_pb2.EmbedInput) -> EmbedInput:
    """The input that the message holds; raises MissingInput."""
    kind = message.WhichOneof("input")
    if kind == "text":
        return TextInput(message.text)
    if kind == "image":
        return ImageInput(message.image)
    raise MissingInput("neither a text nor an image was given", field="input")


def embedding(vector: NDArray[np.float32], format_: int) -> common_pb2.Embedding:
    """Encode a vector as the caller asked."""
    if format_ == common_pb2.EMBEDDING_FORMAT_FLOAT16:
        return common_pb2.Embedding(float16=vector.astype("<f2").tobytes())
    message = common_pb2.Embedding()
    floats.pack(vector, message.float32)
    return message


def vector_of(message: common_pb2.Embedding) -> NDArray[np.float32]:
    """Decode a caller's vector to float32 [n]; its length and values are checked later."""
    kind = message.WhichOneof("encoding")
    if kind == "float32":
        return floats.unpack(message.float32)
    if kind == "float16":
        if len(message.float16) % 2:
            raise BadVector("float16 vectors take two bytes a component", field="query.vector.float16")
        return np.frombuffer(message.float16, "<f2").astype(np.float32)
    raise MissingInput("the vector holds no values", field="query.vector")


def timings(stages: Stages, started: float) -> common_pb2.Timings:
    """Seconds to the message's microseconds; the total runs from ``started`` until now."""
    return common_pb2.Timings(
        preprocess_us=int(stages.preprocess_s * 1e6),
        queue_us=int(stages.queue_s * 1e6),
        encode_us=int(stages.encode_s * 1e6),
        search_us=int(stages.search_s * 1e6),
        total_us=int((time.monotonic() - started) * 1e6),
    )


def embed_output(embedded: Embedded, format_: int, started: float) -> embedding_pb2.EmbedOutput:
    """One embedded input as a message."""
    return embedding_pb2.EmbedOutput(
        embedding=embedding(embedded.vector, format_),
        truncated=embedded.truncated,
        timings=timings(embedded.stages, started),
    )


def batch_result(result: Embedded | ClipsearchError, format_: int, started: float) -> embedding_pb2.BatchEmbedResult:
    """One input's result inside a batch."""
    if isinstance(result, ClipsearchError):
        return embedding_pb2.BatchEmbedResult(error=to_status(result))
    return embedding_pb2.BatchEmbedResult(output=embed_output(result, format_, started))


def search_query(request: search_pb2.SearchRequest) -> SearchQuery:
    """The search that the message asks for; raises MissingInput, UnknownEnumValue or BadVector."""
    if request.view not in _VIEWS:
        raise UnknownEnumValue(f"view {request.view} is not known", field="view")
    check_format(request.format)
    return SearchQuery(
        terms=_terms(request),
        top_k=request.top_k if request.HasField("top_k") else DEFAULT_TOP_K,
        collection=request.collection,
        nprobe=request.nprobe if request.HasField("nprobe") else None,
        filter=request.filter,
        min_seq=request.min_sequence_number,
        exclude_ids=request.exclude_ids,
        min_score=request.min_score if request.HasField("min_score") else None,
        with_metadata=request.view >= search_pb2.VIEW_METADATA,
        with_vectors=request.view == search_pb2.VIEW_FULL,
        shape=_shape(request),
    )


def _shape(request: search_pb2.SearchRequest) -> Shape | None:
    """What is asked for beyond the nearest items; None, which costs nothing, where that is nothing."""
    paged = request.HasField("offset") or bool(request.page_token)
    collapse_above = request.collapse_above if request.HasField("collapse_above") else None
    if not paged and not request.group_by and collapse_above is None:
        return None
    return Shape(request.offset, paged, request.page_token, request.group_by, collapse_above)


def _terms(request: search_pb2.SearchRequest) -> Sequence[Term]:
    if not request.terms:
        return (Term(_query_input(request.query)),)
    if request.HasField("query"):
        raise InvalidInput("give either query or terms, not both", field="terms")
    terms = []
    for i, term in enumerate(request.terms):
        place = f"terms[{i}].query"
        try:
            query = _query_input(term.query)
        except ClipsearchError as error:
            error.field = f"terms[{i}].{error.field}"
            raise
        terms.append(Term(query, term.weight if term.HasField("weight") else 1.0, place))
    return terms


def _query_input(query: search_pb2.Query) -> QueryInput:
    kind = query.WhichOneof("kind")
    if kind == "text":
        return TextInput(query.text)
    if kind == "vector":
        return VectorInput(vector_of(query.vector))
    if kind == "image":
        return ImageInput(query.image)
    if kind == "item_id":
        return ItemInput(query.item_id)
    raise MissingInput("the query holds no text, image, vector or item_id", field="query")


def search_response(found: Found, format_: int, started: float) -> search_pb2.SearchResponse:
    """The hits of one search as a message."""
    hits = [search_pb2.Hit(id=id_, score=score) for id_, score in zip(found.ids, found.scores, strict=True)]
    if found.descriptions is not None:
        for hit, described in zip(hits, found.descriptions, strict=True):
            hit.metadata.CopyFrom(struct_of(described.metadata))
            hit.uri = described.uri or ""
    if found.vectors is not None:
        for hit, vector in zip(hits, found.vectors, strict=True):
            hit.embedding.CopyFrom(embedding(vector, format_))
    return search_pb2.SearchResponse(
        hits=hits,
        truncated=found.truncated,
        timings=timings(found.stages, started),
        sequence_number=found.seq,
        next_page_token=found.next_page_token,
    )


def struct_of(metadata: dict[str, Any]) -> struct_pb2.Struct:
    """Metadata as a message."""
    struct = struct_pb2.Struct()
    struct.update(metadata)
    return struct
