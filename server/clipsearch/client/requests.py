"""What both clients share of making a call: their settings and the messages made with them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clipsearch.client import convert
from clipsearch.client.bulk import Chunker, Key, Window
from clipsearch.client.channel import ENVELOPE_BYTES, channel_options, rpc_timeout
from clipsearch.client.errors import ClientError
from clipsearch.client.retry import RetryPolicy
from clipsearch.client.types import Input, Picture, Priority, Query, Transport, View
from clipsearch.v1 import embedding_pb2, search_pb2

DEFAULT_TIMEOUT_S = 30.0
DEFAULT_BATCH_SIZE = 64
DEFAULT_WINDOW = 256
HEALTH_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search, the same for all queries of one call; None leaves the choice to the server."""

    top_k: int | None
    nprobe: int | None
    view: View
    priority: Priority | None

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown view or priority."""
        convert.view_value(self.view)
        convert.priority_value(self.priority)


@dataclass(frozen=True, slots=True)
class Requests:
    """The settings of one client, checked, and the requests they make. ``timeout_s`` may be infinite."""

    timeout_s: float
    transport: Transport
    retry: RetryPolicy
    max_message_bytes: int

    def __post_init__(self) -> None:
        """Raise ValueError for settings that no call could use."""
        rpc_timeout(self.timeout_s)
        convert.embedding_format(self.transport)
        if self.max_message_bytes <= 2 * ENVELOPE_BYTES:
            raise ValueError(f"max_message_bytes must be above {2 * ENVELOPE_BYTES}, not {self.max_message_bytes}")

    def channel_options(self) -> Sequence[tuple[str, str | int]]:
        """Return the options of the gRPC channel."""
        return channel_options(self.retry, self.max_message_bytes)

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

    def embed_input(self, item: Input) -> embedding_pb2.EmbedInput | ClientError:
        """Make the message of one input of many, or the error that takes its place."""
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
            query=convert.query_message(query),
            top_k=options.top_k,
            nprobe=options.nprobe,
            view=convert.view_value(options.view),
            format=convert.embedding_format(self.transport),
            priority=convert.priority_value(options.priority),
        )

    def search_or_error(self, query: Query, options: SearchOptions) -> search_pb2.SearchRequest | ClientError:
        """Make one search of many, or the error that takes its place."""
        return convert.or_error(lambda: self.search(query, options), self.max_payload_bytes)

    def window(self, max_items: int, in_order: bool) -> Window[Key]:
        """Make the window of a stream, bounded by a message limit's worth of bytes besides the number."""
        return Window(max_items, self.max_message_bytes, in_order)

    def embed_chunker(self, batch_size: int) -> Chunker[embedding_pb2.EmbedInput]:
        """Make the grouping of inputs into requests."""
        return Chunker(batch_size, self.max_payload_bytes)

    def search_chunker(self, batch_size: int) -> Chunker[search_pb2.SearchRequest]:
        """Make the grouping of searches into requests."""
        return Chunker(batch_size, self.max_payload_bytes)
