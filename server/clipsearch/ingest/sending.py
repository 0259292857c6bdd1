"""Writing batches to the server, again where that can help, and apart where one item spoils it for the others."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TypeVar

import grpc

from clipsearch.client import (
    Aborted,
    Client,
    ClientError,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NewItem,
    NotFound,
    Outcome,
    Overloaded,
    ResourceExhausted,
    Unavailable,
)
from clipsearch.ingest.records import Record

T = TypeVar("T")

READY_POLL_S = 2.0
"""How long one wait for a server that is away takes at most, so that it can be ended."""

_PASSING = (Unavailable, DeadlineExceeded, Overloaded, Aborted)
_NEEDS_CONTENT = {"INPUT_MISSING", "EMBEDDING_DAMAGED"}


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """An item to write, and what the state will say of it once it is acknowledged.

    ``pictures`` and the item's vector or text are left out where only metadata changed: then ``bare`` is set, and the
    server keeps the embedding that it has.
    """

    record: Record
    stamp: str | None
    content: bytes
    description: bytes
    pictures: tuple[bytes, ...] = field(default=(), repr=False)
    bare: bool = False

    @property
    def size(self) -> int:
        """Bytes that it holds in memory."""
        return sum(map(len, self.pictures)) + (0 if self.record.vector is None else 4 * len(self.record.vector))

    @property
    def count(self) -> int:
        """How many the server counts it as."""
        return max(1, len(self.pictures))

    def item(self) -> NewItem:
        """Make the client's item."""
        record = self.record
        if self.bare:
            return NewItem(record.id, metadata=record.metadata, uri=record.uri)
        if self.pictures:
            return NewItem(record.id, image=self.pictures, metadata=record.metadata, uri=record.uri)
        if record.text is not None:
            return NewItem(record.id, text=record.text, metadata=record.metadata, uri=record.uri)
        return NewItem(record.id, vector=record.vector, metadata=record.metadata, uri=record.uri)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one item: ``seq`` is the sequence number that it has now; None where that is not known.

    ``again`` says that the server needs the content of an item that was sent without.
    """

    out: Outgoing
    outcome: Outcome | None = None
    seq: int | None = None
    error: ClientError | None = None
    again: bool = False


@dataclass(slots=True)
class Sent:
    """The answers to a batch, how many writes it took that changed something, and the last sequence number of those."""

    answers: list[Answer]
    changes: int = 0
    last_seq: int = 0

    def add(self, other: "Sent") -> "Sent":
        """Take in the answers to another part."""
        self.answers += other.answers
        self.changes += other.changes
        self.last_seq = max(self.last_seq, other.last_seq)
        return self


class Sender:
    """Writes to one collection. Thread-safe."""

    def __init__(
        self,
        client: Client,
        collection: str,
        *,
        stop: Event,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``patience_s`` is how long a server that is away, or full, is waited for; ``stop`` ends that."""
        self._client, self._collection = client, collection
        self._stop, self._patience_s, self._clock = stop, patience_s, clock

    def send(self, batch: Sequence[Outgoing]) -> Sent:
        """Write a batch; raises ClientError for what no other batch would fare better with.

        Where the call fails as a whole for what may be one item's fault, its halves are tried, down to the item.
        """
        request_id = str(uuid.uuid4())
        items = [out.item() for out in batch]
        try:
            written = self._patiently(
                lambda: self._client.catalogue.upsert(items, collection=self._collection, request_id=request_id)
            )
        except (InvalidArgument, ResourceExhausted, Internal) as error:
            if not _may_be_one_items_fault(error):
                raise
            if len(batch) == 1:
                return Sent([_answer(batch[0], error, 0)])
            half = len(batch) // 2
            return self.send(batch[:half]).add(self.send(batch[half:]))
        seq = written.sequence_number
        answers = [_answer(out, result, seq) for out, result in zip(batch, written.results, strict=True)]
        changed = any(answer.outcome in {"created", "updated"} for answer in answers)
        answers = [self._located(answer, seq) if answer.outcome == "unchanged" else answer for answer in answers]
        return Sent(answers, int(changed), seq if changed else 0)

    def delete(self, ids: Sequence[str]) -> Sent:
        """Delete items; those that are not there are as good as deleted. Raises ClientError."""
        request_id = str(uuid.uuid4())
        try:
            deleted = self._patiently(
                lambda: self._client.catalogue.delete(ids, collection=self._collection, request_id=request_id)
            )
        except InvalidArgument as error:
            if error.reason != "BATCH_TOO_LARGE" or len(ids) == 1:
                raise
            half = len(ids) // 2
            return self.delete(ids[:half]).add(self.delete(ids[half:]))
        changed = len(deleted.missing_ids) < len(ids)
        return Sent([], int(changed), deleted.sequence_number if changed else 0)

    def _located(self, answer: Answer, seq: int) -> Answer:
        """An item that was there already was written earlier: ask when, unless somebody has written it since."""
        try:
            item = self._patiently(
                lambda: self._client.catalogue.get_item(answer.out.record.id, collection=self._collection)
            )
        except NotFound:
            return answer
        return replace(answer, seq=item.sequence_number) if item.sequence_number <= seq else answer

    def _patiently(self, call: Callable[[], T]) -> T:
        until = self._clock() + self._patience_s
        while True:
            try:
                return call()
            except _PASSING:
                if self._stop.is_set() or self._clock() >= until:
                    raise
                self._wait(until)

    def _wait(self, until: float) -> None:
        """Wait until the server serves, or until the next look."""
        try:
            self._client.wait_until_ready(max(0.1, min(READY_POLL_S, until - self._clock())))
        except (DeadlineExceeded, Unavailable):
            return


def _answer(out: Outgoing, result: Outcome | ClientError, seq: int) -> Answer:
    if not isinstance(result, ClientError):
        return Answer(out, result, None if result == "unchanged" else seq)
    return Answer(out, error=result, again=out.bare and result.reason in _NEEDS_CONTENT)


def _may_be_one_items_fault(error: ClientError) -> bool:
    """Whether a smaller batch may fare better: too large a one, or an item that the encoder fails on."""
    if isinstance(error, ResourceExhausted):
        # Without a reason it is gRPC itself that refuses a message over the limit.
        return error.reason == "" and error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return error.reason != "STORAGE_FAILED" and (isinstance(error, InvalidArgument) or error.reason == "COMPUTE_FAILED")
