"""What turns items into vectors, and one that has a server do it; ``local`` has one that has a model of its own."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import grpc

from clipsearch.client import Client
from clipsearch.client.errors import ClientError, InvalidArgument, Unavailable
from clipsearch.embed_job.errors import EngineLost, JobChanged
from clipsearch.embed_job.items import Item, Kind, Outcome, Problem

WINDOW = 1024
"""Items sent and not yet written: several batches for the server, so that it never waits for us to read."""

BLOCK = 256
"""Outcomes handed on together by the engine of a server."""

RECONNECT_S = 60.0
"""How long a server that went away is waited for: longer than a restart."""

_ITEMS_OWN_FAULT = {"COMPUTE_FAILED"}
"""Reasons other than invalid arguments that are about the item, not about the server or the connection."""


@dataclass(frozen=True, slots=True)
class Model:
    """Which model makes the vectors: its weights, how they are rounded, and the vectors' length."""

    weight_hash: str
    precision: str
    dimension: int


class Engine(Protocol):
    """Embeds items."""

    @property
    def model(self) -> Model:
        """The model."""

    def embed(self, items: Iterable[Item], kind: Kind) -> Iterator[list[Outcome]]:
        """Yield blocks of outcomes, one for each loaded item, in order.

        Raises EngineLost where going on later can help.
        """

    def recover(self) -> None:
        """Make ready to go on after EngineLost; raises what says that this can't be."""


class ServerEngine:
    """A server's StreamEmbed. No more than ``WINDOW`` items are with it at once, so a slow one slows the source."""

    def __init__(self, client: Client) -> None:
        """Ask the server, which must be ready, for its model."""
        self._client = client
        self.model = self._ask()

    def embed(self, items: Iterable[Item], kind: Kind) -> Iterator[list[Outcome]]:
        """Yield blocks of outcomes, whichever kind they are."""
        # The content is the stream's from here on: kept beside it, pictures would be in memory twice.
        pairs = ((item if kind == "text" else item._replace(content=""), _sendable(item)) for item in items)
        results = self._client.stream_embed(pairs, window=WINDOW, in_order=True, timeout=math.inf)
        block: list[Outcome] = []
        try:
            for item, result in results:
                if isinstance(result, ClientError):
                    block.append((item, _problem(result)))
                else:
                    block.append((item, result.vector))
                if len(block) == BLOCK:
                    yield block
                    block = []
        except Unavailable as error:
            # What came in order before the loss is as good as ever.
            if block:
                yield block
            raise EngineLost(f"the server went away: {error.message}") from error
        if block:
            yield block

    def recover(self) -> None:
        """Wait for the server to be back; raises JobChanged where it serves another model now."""
        self._client.wait_until_ready(RECONNECT_S)
        if (model := self._ask()) != self.model:
            raise JobChanged(f"the server came back with another model: {model}, before {self.model}")

    def _ask(self) -> Model:
        info = self._client.model()
        return Model(info.weight_hash, info.precision, info.dimension)


def _sendable(item: Item) -> str | bytes | ClientError:
    content = item.content
    if isinstance(content, str | bytes):
        return content
    if isinstance(content, Problem):
        return InvalidArgument(content.message, code=grpc.StatusCode.INVALID_ARGUMENT, reason=content.reason)
    raise TypeError(f"{content!r} was not loaded")


def _problem(error: ClientError) -> Problem:
    """Return an item's own fault; anything else ends the stream, or an overload would be noted as a bad picture."""
    if isinstance(error, InvalidArgument) or error.reason in _ITEMS_OWN_FAULT:
        return Problem(error.reason or error.code.name, error.message)
    raise error
