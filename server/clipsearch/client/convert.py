"""Between the values of ``types`` and the messages of ``clipsearch.v1``; pure but for reading picture files."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf import struct_pb2
from google.protobuf.message import Message

from clipsearch import floats
from clipsearch.client.errors import ClientError, InvalidArgument, from_status
from clipsearch.client.types import (
    Embedded,
    Hit,
    Input,
    ModelInfo,
    Picture,
    Priority,
    Query,
    SearchResult,
    Timings,
    Transport,
    Vector,
    View,
)
from clipsearch.v1 import common_pb2, embedding_pb2, search_pb2

_Message = TypeVar("_Message", bound=Message)
_Choice = TypeVar("_Choice")

_FORMATS = {
    "float32": common_pb2.EMBEDDING_FORMAT_FLOAT32,
    "float16": common_pb2.EMBEDDING_FORMAT_FLOAT16,
}
_PRIORITIES = {
    None: common_pb2.PRIORITY_UNSPECIFIED,
    "interactive": common_pb2.PRIORITY_INTERACTIVE,
    "bulk": common_pb2.PRIORITY_BULK,
}
_VIEWS = {
    "basic": search_pb2.VIEW_BASIC,
    "metadata": search_pb2.VIEW_METADATA,
    "full": search_pb2.VIEW_FULL,
}


def embedding_format(transport: Transport) -> "common_pb2.EmbeddingFormat.ValueType":
    """Return the enum value of a transport; ValueError for an unknown one."""
    return _choose("transport", transport, _FORMATS)


def priority_value(priority: Priority | None) -> "common_pb2.Priority.ValueType":
    """Return the enum value of a priority; ValueError for an unknown one."""
    return _choose("priority", priority, _PRIORITIES)


def _choose(name: str, value: object, table: Mapping[Any, _Choice]) -> _Choice:
    if value not in table:
        raise ValueError(f"{name} must be one of {', '.join(str(k) for k in table)}, not {value!r}")
    return table[value]


def picture_bytes(picture: Picture) -> bytes:
    """Return the encoded bytes of a picture; reads the file of a path (OSError where it can't)."""
    if isinstance(picture, Path):
        return picture.read_bytes()
    if isinstance(picture, bytes):
        return picture
    raise TypeError(f"a picture is bytes or a pathlib.Path, not {type(picture).__name__}")


def embed_input(item: Input) -> embedding_pb2.EmbedInput:
    """Make the message of one input; reads the file of a path (OSError where it can't)."""
    if isinstance(item, str):
        return embedding_pb2.EmbedInput(text=item)
    return embedding_pb2.EmbedInput(image=picture_bytes(item))


def or_error(build: Callable[[], _Message], max_bytes: int) -> _Message | ClientError:
    """Build the message of one item of many, or return the error that takes its place in the results.

    What can't be sent (a file that can't be read, text with lone surrogates, a message over ``max_bytes``, which would
    break the whole call, and what ``build`` refuses with a ClientError) costs its own place only.
    """
    try:
        message = build()
    except ClientError as error:
        return error
    except OSError as error:
        return _refused("FILE_UNREADABLE", f"the picture can't be read: {error}")
    except UnicodeEncodeError as error:
        return _refused("NOT_UNICODE", f"a text can't be sent: {error}")
    size = message.ByteSize()
    if size > max_bytes:
        return _refused("MESSAGE_TOO_LARGE", f"the item has {size} bytes and a message may have {max_bytes}")
    return message


def _refused(reason: str, message: str) -> ClientError:
    return InvalidArgument(message, code=grpc.StatusCode.INVALID_ARGUMENT, reason=reason)


def view_value(view: View) -> "search_pb2.View.ValueType":
    """Return the enum value of a view; ValueError for an unknown one."""
    return _choose("view", view, _VIEWS)


def query_message(query: Query) -> search_pb2.Query:
    """Make the message of one query; reads the file of a picture's path (OSError where it can't)."""
    message = search_pb2.Query()
    if query.text is not None:
        message.text = query.text
    elif query.image is not None:
        message.image = picture_bytes(query.image)
    elif query.vector is not None:
        # Always single precision: one vector is small, and a caller's unnormalised values may overflow half precision.
        floats.pack(np.asarray(query.vector, np.float32), message.vector.float32)
    elif query.item_id is not None:
        message.item_id = query.item_id
    return message


def weighted_query(query: Query, weight: float) -> search_pb2.WeightedQuery:
    """Make the message of one term."""
    return search_pb2.WeightedQuery(query=query_message(query), weight=weight)


def reads_files(query: Query) -> bool:
    """Return whether making the query's message reads files."""
    return isinstance(query.image, Path) or any(isinstance(term.image, Path) for term, _ in query.terms or ())


def texts(name: str, values: Iterable[str]) -> list[str]:
    """Return several texts as a list; TypeError for a single one, which is an iterable of its letters as well."""
    if isinstance(values, str):
        raise TypeError(f"{name} must be several texts, not one: [{values!r}]")
    return list(values)


def vector(message: common_pb2.Embedding) -> Vector:
    """Return the vector of an embedding in either format, float32 [dimension], writable and owned by the caller."""
    if message.WhichOneof("encoding") == "float16":
        return np.frombuffer(message.float16, "<f2").astype(np.float32)
    return floats.unpack(message.float32).astype(np.float32)


def timings(message: common_pb2.Timings) -> Timings:
    """Return the stage timings of a response."""
    return Timings(
        preprocess_us=message.preprocess_us,
        queue_us=message.queue_us,
        encode_us=message.encode_us,
        search_us=message.search_us,
        total_us=message.total_us,
    )


def embedded_text(message: embedding_pb2.EmbedTextResponse | embedding_pb2.EmbedOutput) -> Embedded:
    """Return the embedding of an answer that can say whether a text was cut."""
    return Embedded(vector(message.embedding), message.truncated, timings(message.timings))


def embedded_image(message: embedding_pb2.EmbedImageResponse) -> Embedded:
    """Return the embedding of a picture."""
    return Embedded(vector(message.embedding), False, timings(message.timings))


def embed_result(message: embedding_pb2.BatchEmbedResult | embedding_pb2.StreamEmbedResponse) -> Embedded | ClientError:
    """Return what became of one item of a batch or stream."""
    if message.WhichOneof("result") == "error":
        return from_status(message.error)
    return embedded_text(message.output)


def search_result(message: search_pb2.SearchResponse, view: View) -> SearchResult:
    """Return the hits of an answer; what ``view`` leaves out is None."""
    hits = tuple(
        Hit(
            hit.id,
            hit.score,
            plain(hit.metadata) if view != "basic" else None,
            vector(hit.embedding) if view == "full" else None,
            hit.uri,
        )
        for hit in message.hits
    )
    return SearchResult(
        hits, message.truncated, timings(message.timings), message.sequence_number, message.next_page_token
    )


def batch_search_result(message: search_pb2.BatchSearchResult, view: View) -> SearchResult | ClientError:
    """Return what became of one search of a batch."""
    if message.WhichOneof("result") == "error":
        return from_status(message.error)
    return search_result(message.response, view)


def plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Return a Struct as a dict. A Struct has one kind of number; whole ones come back as int, as JSON would print."""
    return {key: plain_value(value) for key, value in struct.fields.items()}


def plain_value(value: struct_pb2.Value) -> Any:
    """Return one value of a Struct, as ``plain`` does."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain(value.struct_value)
        case "list_value":
            return [plain_value(v) for v in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def model_info(model: embedding_pb2.Model) -> ModelInfo:
    """Return the facts of a model."""
    return ModelInfo(
        source=model.source,
        weight_hash=model.weight_hash,
        dimension=model.dimension,
        context_length=model.context_length,
        image_size=model.image_size,
        precision=model.precision,
        logit_scale=model.logit_scale,
    )
