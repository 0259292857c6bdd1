"""Writing, reading and listing the items of collections."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

from clipsearch.batching.lane import Lane
from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Change, Delete, Mutation, Upsert
from clipsearch.catalogue.reader import Page, StoredItem
from clipsearch.collection import Collection, CollectionStats
from clipsearch.errors import BadPageToken, ClipsearchError, InvalidInput, ItemNotFound, ModelReplaced
from clipsearch.services.call import Call, Stages
from clipsearch.services.embed import EmbedService
from clipsearch.services.limits import RequestLimits
from clipsearch.services.mirror import Mirror
from clipsearch.services.new_items import Content, ImagesInput, NewItem, embed_items
from clipsearch.services.query import VectorInput
from clipsearch.services.recall import LiveRecall, QueryKind, RecallMonitor
from clipsearch.services.serving import Serving

# What the layer above needs of the layers below.
__all__ = [
    "CatalogueService",
    "Change",
    "CollectionStats",
    "Content",
    "ImagesInput",
    "NewItem",
    "StoredItem",
    "Written",
]

DEFAULT_PAGE = 50
MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Write:
    """An item of the write lane, for a collection and not for its name: another may have that when its turn comes."""

    collection: Collection
    mutation: Mutation


WriteLane = Lane[Write, Applied]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of each item, the sequence number after it, and where the time went (the longest of each stage)."""

    outcomes: list[Change | ClipsearchError]
    seq: int
    stages: Stages = field(default_factory=Stages)


class CatalogueService:
    """The catalogue use cases. Called on the event loop."""

    def __init__(
        self,
        *,
        embed: EmbedService,
        lane: WriteLane,
        serving: Serving,
        recall: RecallMonitor,
        limits: RequestLimits,
    ) -> None:
        self._embed = embed
        self._lane = lane
        self._serving = serving
        self._recall = recall
        self._limits = limits
        self._mirror = Mirror(serving, embed, self._write, limits)

    async def upsert(
        self, collection: str, items: Sequence[NewItem | ClipsearchError], request_id: str | None, call: Call
    ) -> Written:
        """Write items: each is stored and searchable afterwards, or has its own error; errors given are passed through.

        Raises CollectionNotFound, BatchTooLarge, QueueFull, StorageFull, StorageFailed or RequestIdReused, and
        ModelReplaced for ready vectors of a model that was replaced meanwhile. With a request id, an item that fails
        for a reason that may pass fails the call, and nothing is written: a retry would otherwise ask for more than the
        first attempt did.
        """
        self._limits.check_batch(len(items), "items")
        while True:
            try:
                return await self._upsert(collection, items, request_id, call)
            except ModelReplaced:
                # Once more, with the model that took over; but nobody can make its vectors of another's.
                if any(isinstance(item, NewItem) and isinstance(item.content, VectorInput) for item in items):
                    raise

    async def _upsert(
        self, collection: str, items: Sequence[NewItem | ClipsearchError], request_id: str | None, call: Call
    ) -> Written:
        where = self._serving.where(collection)
        outcomes: list[Change | ClipsearchError | None] = [None] * len(items)
        made = await embed_items(self._embed, items, where.model, self._limits, call)
        sound: list[tuple[int, Item]] = []
        for i, one in enumerate(made.items):
            if not isinstance(one, ClipsearchError):
                sound.append((i, one))
            elif request_id is None or isinstance(one, InvalidInput):
                outcomes[i] = one
            else:
                raise one.at(f"items[{i}]")
        seq = where.collection.view.seq
        if sound:
            with self._mirror.begin(where, [item.id for _, item in sound]) as mirrored:
                mutation = Upsert([item for _, item in sound], request_id)
                applied = await self._write(where.collection, mutation, len(sound), call)
                seq = applied.seq
                for (i, _), outcome in zip(sound, applied.outcomes, strict=True):
                    outcomes[i] = copy(outcome) if isinstance(outcome, ClipsearchError) else outcome
                if mirrored is not None:
                    stored = [items[i] for i, outcome in enumerate(outcomes) if isinstance(outcome, Change)]
                    await self._mirror.upsert(mirrored, stored, call)
        return Written([outcome for outcome in outcomes if outcome is not None], seq, made.stages)

    async def delete(self, collection: str, ids: Sequence[str], request_id: str | None, call: Call) -> Written:
        """Delete items; an id that is not there has the outcome NOT_FOUND. Raises as ``upsert`` does."""
        self._limits.check_batch(len(ids), "ids")
        while True:
            where = self._serving.where(collection)
            try:
                with self._mirror.begin(where, ids) as mirrored:
                    applied = await self._write(where.collection, Delete(ids, request_id), len(ids), call)
                    if mirrored is not None:
                        await self._mirror.delete(mirrored, ids, call)
                    return Written(list(applied.outcomes), applied.seq)
            except ModelReplaced:
                continue  # once more, where the collection is now

    async def get(self, collection: str, item_id: str, *, with_embedding: bool) -> StoredItem:
        """Return one item; raises ItemNotFound, or EmbeddingDamaged where its embedding is asked for."""
        where = self._serving.where(collection)
        item = await asyncio.to_thread(where.collection.reader.get, item_id, with_embedding=with_embedding)
        if item is None:
            raise ItemNotFound("no item has this id", field="id", metadata={"item_id": item_id})
        return item

    async def page(
        self, collection: str, size: int, token: str, condition: str, *, with_embeddings: bool
    ) -> tuple[list[StoredItem], str]:
        """Return items by id, and the token of the next page, empty on the last one.

        Raises MalformedFilter, FilterTooComplex or BadPageToken.
        """
        where = self._serving.where(collection)
        limit = min(size or DEFAULT_PAGE, MAX_PAGE)
        if size < 0:
            raise BadPageToken("page_size must not be negative", field="page_size")
        after = _after(token, condition)

        def read() -> Page:
            only = compile_filter(condition) if condition else None
            return where.collection.reader.list_page(after, limit, only, with_embeddings=with_embeddings)

        page = await asyncio.to_thread(read)
        return page.items, "" if page.next_after is None else _token(page.next_after, condition)

    async def stats(self, collection: str) -> tuple[CollectionStats, dict[QueryKind, LiveRecall]]:
        """Return the sizes of a collection, and the recall of its live queries as far as it was measured."""
        where = self._serving.where(collection)
        recall = self._recall.measured(where.collection.name) if where.model is self._serving.model else {}
        return await asyncio.to_thread(where.collection.stats), recall

    async def create(self, collection: str) -> None:
        """Make an empty collection; raises BadCollectionName or CollectionExists."""
        await asyncio.to_thread(self._serving.create, collection)

    def names(self) -> list[str]:
        """Return the names of all collections, sorted, those of a staged model last."""
        return self._serving.names()

    async def drop(self, collection: str) -> None:
        """Delete a collection and its files; raises CollectionNotFound."""
        await asyncio.to_thread(self._serving.delete, collection)
        self._recall.forget(collection)

    async def _write(self, collection: Collection, mutation: Mutation, size: int, call: Call) -> Applied:
        item, cost = Write(collection, mutation), max(1, size)
        admission = self._lane.admission
        with admission.enter(call.demand(admission, cost)) as place:
            answer = await self._lane.submit(
                item, length=cost, priority=call.priority, deadline=call.deadline, caller=place.caller
            )
        return answer.output


def write_batch(batch: Sequence[Write]) -> list[Applied | ClipsearchError]:
    """Commit what waits, as the write lane's run function: one transaction for each collection.

    One that was deleted meanwhile answers with CollectionNotFound.
    """
    groups: dict[Collection, list[int]] = {}
    for i, write in enumerate(batch):
        groups.setdefault(write.collection, []).append(i)
    answers: dict[int, Applied | ClipsearchError] = {}
    for collection, members in groups.items():
        answers.update(zip(members, collection.write([batch[i].mutation for i in members]), strict=True))
        collection.rebuild_if_due()
    return [answers[i] for i in range(len(batch))]


def _token(after: str, condition: str) -> str:
    return base64.urlsafe_b64encode(_mark(condition) + after.encode()).decode()


def _after(token: str, condition: str) -> str | None:
    if not token:
        return None
    try:
        raw = base64.urlsafe_b64decode(token.encode())
        after = raw[4:].decode()
    except (binascii.Error, UnicodeError) as error:
        raise BadPageToken("the page token is not one of this server's", field="page_token") from error
    if raw[:4] != _mark(condition) or not after:
        raise BadPageToken("the page token belongs to another list", field="page_token")
    return after


def _mark(condition: str) -> bytes:
    return hashlib.sha256(condition.encode()).digest()[:4]
