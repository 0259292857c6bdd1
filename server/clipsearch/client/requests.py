"""What both clients share of making a call: their settings and the messages made with them."""

import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from clipsearch.client import convert, convert_catalogue
from clipsearch.client.bulk import Chunker, Key, UpsertChunker, Window
from clipsearch.client.channel import ENVELOPE_BYTES, channel_options, rpc_timeout
from clipsearch.client.errors import ClientError
from clipsearch.client.retry import RetryPolicy
from clipsearch.client.types import Input, NewItem, Picture, Priority, Query, Transport, View
from clipsearch.v1 import catalogue_pb2, embedding_pb2, search_pb2

Metadata: TypeAlias = tuple[tuple[str, str], ...] | None

DEFAULT_TIMEOUT_S = 30.0
DEFAULT_BATCH_SIZE = 64
DEFAULT_WINDOW = 256
DEFAULT_CONCURRENCY = 4
DEFAULT_PAGE_SIZE = 100
DEFAULT_FACET_VALUES = 20
HEALTH_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How to search, the same for all queries of one call; None leaves the choice to the server."""

    top_k: int | None
    nprobe: int | None
    view: View
    collection: str
    filter: str
    min_sequence_number: int
    exclude_ids: Iterable[str]
    min_score: float | None
    priority: Priority | None
    offset: int | None = None
    page_token: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown view or priority, and TypeError for one text as ``exclude_ids``."""
        convert.view_value(self.view)
        convert.priority_value(self.priority)
        # Read once, as one of a batch's queries after the other needs them.
        object.__setattr__(self, "exclude_ids", convert.texts("exclude_ids", self.exclude_ids))


@dataclass(frozen=True, slots=True)
class Requests:
    """The settings of one client, checked, and the requests they make. ``timeout_s`` may be infinite."""

    timeout_s: float
    transport: Transport
    retry: RetryPolicy
    max_message_bytes: int
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for settings that no call could use."""
        rpc_timeout(self.timeout_s)
        convert.embedding_format(self.transport)
        if self.max_message_bytes <= 2 * ENVELOPE_BYTES:
            raise ValueError(f"max_message_bytes must be above {2 * ENVELOPE_BYTES}, not {self.max_message_bytes}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise ValueError("api_key must be printable ASCII, as `clipsearch keys add` prints it")

    def channel_options(self) -> Sequence[tuple[str, str | int]]:
        """Return the options of the gRPC channel."""
        return channel_options(self.retry, self.max_message_bytes)

    @property
    def metadata(self) -> Metadata:
        """What every call carries beside its message."""
        return None if self.api_key is None else (("authorization", f"Bearer {self.api_key}"),)

    def deadline(self, timeout: float | None, now: float) -> float:
        """Return when a call must be over, on the clock of ``now``; ValueError for a timeout of zero or less."""
        seconds = self.timeout_s if timeout is None else timeout
        rpc_timeout(seconds)
        return now + seconds

    def attempt_timeout(self, deadline: float, now: float) -> float | None:
        """Return gRPC's timeout in seconds for an attempt made now; None for ever, and never below a microsecond."""
        return None if math.isinf(deadline) else max(deadline - now, 1e-6)

    @property
    def max_payload_bytes(self) -> int:
        """Most bytes that the items of one message may have."""
        return self.max_message_bytes - ENVELOPE_BYTES

    def embed_text(self, text: str, priority: Priority | None) -> embedding_pb2.EmbedTextRequest:
        """Make the request for one text."""
        return embedding_pb2.EmbedTextRequest(
            text=text, format=convert.embedding_format(self.transport), priority=convert.priority_value(priority)
        )

    def embed_image(self, image: Picture, priority: Priority | None) -> embedding_pb2.EmbedImageRequest:
        """Make the request for one picture; OSError where its file can't be read."""
        return embedding_pb2.EmbedImageRequest(
            image=convert.picture_bytes(image),
            format=convert.embedding_format(self.transport),
            priority=convert.priority_value(priority),
        )

    def embed_input(self, item: Input | ClientError) -> embedding_pb2.EmbedInput | ClientError:
        """Make the message of one input of many, or the error that takes its place."""
        if isinstance(item, ClientError):
            return item
        return convert.or_error(lambda: convert.embed_input(item), self.max_payload_bytes)

    def batch_embed(
        self, inputs: Sequence[embedding_pb2.EmbedInput], priority: Priority | None
    ) -> embedding_pb2.BatchEmbedRequest:
        """Make the request for one chunk."""
        return embedding_pb2.BatchEmbedRequest(
            inputs=inputs, format=convert.embedding_format(self.transport), priority=convert.priority_value(priority)
        )

    def stream_item(
        self, name: str, item: embedding_pb2.EmbedInput, priority: Priority | None
    ) -> embedding_pb2.StreamEmbedRequest:
        """Make one message of a stream; ``name`` is the item's name on the wire."""
        return embedding_pb2.StreamEmbedRequest(
            item_id=name,
            input=item,
            format=convert.embedding_format(self.transport),
            priority=convert.priority_value(priority),
        )

    def search(self, query: Query, options: SearchOptions) -> search_pb2.SearchRequest:
        """Make one search; OSError where a picture's file can't be read."""
        return search_pb2.SearchRequest(
            query=convert.query_message(query) if query.terms is None else None,
            terms=[convert.weighted_query(term, weight) for term, weight in query.terms or ()],
            top_k=options.top_k,
            nprobe=options.nprobe,
            view=convert.view_value(options.view),
            format=convert.embedding_format(self.transport),
            priority=convert.priority_value(options.priority),
            collection=options.collection,
            filter=options.filter,
            min_sequence_number=options.min_sequence_number,
            exclude_ids=options.exclude_ids,
            min_score=options.min_score,
            offset=options.offset,
            page_token=options.page_token,
        )

    def search_or_error(self, query: Query, options: SearchOptions) -> search_pb2.SearchRequest | ClientError:
        """Make one search of many, or the error that takes its place."""
        return convert.or_error(lambda: self.search(query, options), self.max_payload_bytes)

    def upsert_item(self, item: NewItem) -> catalogue_pb2.UpsertItem | ClientError:
        """Make the message of one item to write, or the error that takes its place."""
        return convert.or_error(lambda: convert_catalogue.upsert_item(item), self.max_payload_bytes)

    def upsert(
        self,
        items: Sequence[catalogue_pb2.UpsertItem],
        collection: str,
        priority: Priority | None,
        request_id: str | None = None,
    ) -> catalogue_pb2.UpsertItemsRequest:
        """Make one write; always with a request id, since that is what makes repeating it safe."""
        return catalogue_pb2.UpsertItemsRequest(
            collection=collection,
            items=items,
            request_id=request_id or str(uuid.uuid4()),
            priority=convert.priority_value(priority),
        )

    def delete(self, ids: Iterable[str], collection: str, request_id: str | None) -> catalogue_pb2.DeleteItemsRequest:
        """Make one deletion, with a request id as ``upsert``; TypeError for one text as ``ids``."""
        return catalogue_pb2.DeleteItemsRequest(
            collection=collection, ids=convert.texts("ids", ids), request_id=request_id or str(uuid.uuid4())
        )

    def get_item(self, item_id: str, collection: str, with_embedding: bool) -> catalogue_pb2.GetItemRequest:
        """Make the request for one stored item."""
        return catalogue_pb2.GetItemRequest(
            collection=collection,
            id=item_id,
            view=_item_view(with_embedding),
            format=convert.embedding_format(self.transport),
        )

    def list_items(
        self, collection: str, condition: str, page_size: int, with_embedding: bool
    ) -> catalogue_pb2.ListItemsRequest:
        """Make the request for the first page of a list; ValueError for a page size below one."""
        if page_size < 1:
            raise ValueError(f"page_size must be at least 1, not {page_size}")
        return catalogue_pb2.ListItemsRequest(
            collection=collection,
            filter=condition,
            page_size=page_size,
            view=_item_view(with_embedding),
            format=convert.embedding_format(self.transport),
        )

    def facets(
        self, collection: str, fields: Iterable[str], condition: str, limit: int
    ) -> catalogue_pb2.GetFacetsRequest:
        """Make the request for facets; ValueError for a limit below one, TypeError for one text as ``fields``."""
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        return catalogue_pb2.GetFacetsRequest(
            collection=collection, filter=condition, fields=convert.texts("fields", fields), value_limit=limit
        )

    def window(self, max_items: int, in_order: bool) -> Window[Key]:
        """Make the window of a stream, bounded by a message limit's worth of bytes besides the number."""
        return Window(max_items, self.max_message_bytes, in_order)

    def embed_chunker(self, batch_size: int) -> Chunker[embedding_pb2.EmbedInput]:
        """Make the grouping of inputs into requests."""
        return Chunker(batch_size, self.max_payload_bytes)

    def search_chunker(self, batch_size: int) -> Chunker[search_pb2.SearchRequest]:
        """Make the grouping of searches into requests."""
        return Chunker(batch_size, self.max_payload_bytes)

    def upsert_chunker(self, batch_size: int) -> UpsertChunker:
        """Make the grouping of items into writes."""
        return UpsertChunker(batch_size, self.max_payload_bytes)


def _item_view(with_embedding: bool) -> "catalogue_pb2.ItemView.ValueType":
    return catalogue_pb2.ITEM_VIEW_FULL if with_embedding else catalogue_pb2.ITEM_VIEW_BASIC
