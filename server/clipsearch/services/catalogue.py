"""Writing, reading and listing the items of collections."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from clipsearch.batching.lane import Lane
from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.catalogue.items import Item, check_id, metadata_json
from clipsearch.catalogue.mutations import Applied, Change, Delete, Mutation, Upsert
from clipsearch.catalogue.reader import Page, StoredItem
from clipsearch.collection import Collection, CollectionStats
from clipsearch.errors import BadPageToken, ClipsearchError, InvalidInput, ItemNotFound, MissingInput
from clipsearch.services.call import Call, Stages
from clipsearch.services.embed import Embedded, EmbedInput, EmbedService, ImageInput, TextInput
from clipsearch.services.limits import RequestLimits
from clipsearch.services.query import VectorInput, unit_vector
from clipsearch.services.recall import LiveRecall, QueryKind, RecallMonitor
from clipsearch.services.searcher import Vector
from clipsearch.services.serving import Model, Serving

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
class ImagesInput:
    """Encoded pictures of one item, which is found by the mean of their unit vectors."""

    images: Sequence[bytes]


Content = ImagesInput | TextInput | VectorInput


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to write; without content a known item keeps its embedding."""

    id: str
    content: Content | None
    metadata: dict[str, object]
    uri: str | None


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

    async def upsert(
        self, collection: str, items: Sequence[NewItem | ClipsearchError], request_id: str | None, call: Call
    ) -> Written:
        """Write items: each is stored and searchable afterwards, or has its own error; errors given are passed through.

        Raises CollectionNotFound, BatchTooLarge, QueueFull, StorageFull, StorageFailed or RequestIdReused. With a
        request id, an item that fails for a reason that may pass fails the call, and nothing is written: a retry would
        otherwise ask for more than the first attempt did.
        """
        where = self._serving.where(collection)
        known = where.collection
        self._limits.check_batch(len(items), "items")
        outcomes: list[Change | ClipsearchError | None] = [None] * len(items)
        made, stages = await self._embedded(items, where.model, call)
        sound: list[tuple[int, Item]] = []
        for i, one in enumerate(made):
            if not isinstance(one, ClipsearchError):
                sound.append((i, one))
            elif request_id is None or isinstance(one, InvalidInput):
                outcomes[i] = one
            else:
                raise one.at(f"items[{i}]")
        seq = known.view.seq
        if sound:
            applied = await self._write(known, Upsert([item for _, item in sound], request_id), len(sound), call)
            seq = applied.seq
            for (i, _), outcome in zip(sound, applied.outcomes, strict=True):
                outcomes[i] = copy(outcome) if isinstance(outcome, ClipsearchError) else outcome
        return Written([outcome for outcome in outcomes if outcome is not None], seq, stages)

    async def delete(self, collection: str, ids: Sequence[str], request_id: str | None, call: Call) -> Written:
        """Delete items; an id that is not there has the outcome NOT_FOUND. Raises as ``upsert`` does."""
        known = self._serving.collection(collection)
        self._limits.check_batch(len(ids), "ids")
        applied = await self._write(known, Delete(ids, request_id), len(ids), call)
        return Written(list(applied.outcomes), applied.seq)

    async def get(self, collection: str, item_id: str, *, with_embedding: bool) -> StoredItem:
        """Return one item; raises ItemNotFound, or EmbeddingDamaged where its embedding is asked for."""
        reader = self._serving.collection(collection).reader
        item = await asyncio.to_thread(reader.get, item_id, with_embedding=with_embedding)
        if item is None:
            raise ItemNotFound("no item has this id", field="id", metadata={"item_id": item_id})
        return item

    async def page(
        self, collection: str, size: int, token: str, condition: str, *, with_embeddings: bool
    ) -> tuple[list[StoredItem], str]:
        """Return items by id, and the token of the next page, empty on the last one.

        Raises MalformedFilter, FilterTooComplex or BadPageToken.
        """
        reader = self._serving.collection(collection).reader
        limit = min(size or DEFAULT_PAGE, MAX_PAGE)
        if size < 0:
            raise BadPageToken("page_size must not be negative", field="page_size")
        after = _after(token, condition)

        def read() -> Page:
            only = compile_filter(condition) if condition else None
            return reader.list_page(after, limit, only, with_embeddings=with_embeddings)

        page = await asyncio.to_thread(read)
        return page.items, "" if page.next_after is None else _token(page.next_after, condition)

    async def stats(self, collection: str) -> tuple[CollectionStats, dict[QueryKind, LiveRecall]]:
        """Return the sizes of a collection, and the recall of its live queries as far as it was measured."""
        known = self._serving.collection(collection)
        return await asyncio.to_thread(known.stats), self._recall.measured(known.name)

    async def create(self, collection: str) -> None:
        """Make an empty collection; raises BadCollectionName or CollectionExists."""
        await asyncio.to_thread(self._serving.data.create, collection)

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return self._serving.data.names()

    async def drop(self, collection: str) -> None:
        """Delete a collection and its files; raises CollectionNotFound."""
        await asyncio.to_thread(self._serving.data.delete, collection)
        self._recall.forget(collection)

    async def _write(self, collection: Collection, mutation: Mutation, size: int, call: Call) -> Applied:
        item, cost = Write(collection, mutation), max(1, size)
        admission = self._lane.admission
        with admission.enter(call.demand(admission, cost)) as place:
            answer = await self._lane.submit(
                item, length=cost, priority=call.priority, deadline=call.deadline, caller=place.caller
            )
        return answer.output

    async def _embedded(
        self, items: Sequence[NewItem | ClipsearchError], model: Model, call: Call
    ) -> tuple[list[Item | ClipsearchError], Stages]:
        """Embed what the items are found by, all pictures and texts of all items together."""
        inputs: list[EmbedInput | ClipsearchError] = []
        parts: list[range] = []
        for item in items:
            wanted = _inputs(item)
            parts.append(range(len(inputs), len(inputs) + len(wanted)))
            inputs += wanted
        self._limits.check_batch(len(inputs), "items")
        outputs = await self._embed.batch(inputs, call, model) if inputs else []
        made = [
            item if isinstance(item, ClipsearchError) else _item(item, [outputs[i] for i in part], model.dimension)
            for item, part in zip(items, parts, strict=True)
        ]
        return made, Stages.longest(output.stages for output in outputs if isinstance(output, Embedded))


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


def _item(item: NewItem, outputs: Sequence[Embedded | ClipsearchError], dimension: int) -> Item | ClipsearchError:
    """The item as the catalogue takes it, or what is wrong with it."""
    try:
        check_id(item.id)
        metadata = metadata_json(item.metadata)
        vector = _vector(item, outputs, dimension)
    except ClipsearchError as error:
        return error
    stored = None if vector is None else vector.astype(np.float16)
    return Item(item.id, metadata, stored, _content_hash(item.content), item.uri)


def _vector(item: NewItem, outputs: Sequence[Embedded | ClipsearchError], dimension: int) -> Vector | None:
    if item.content is None:
        return None
    if isinstance(item.content, VectorInput):
        return unit_vector(item.content.vector, dimension)
    vectors = []
    for i, output in enumerate(outputs):
        if isinstance(output, ClipsearchError):
            place = f"images.images[{i}]" if isinstance(item.content, ImagesInput) else "text"
            output.field = place
            raise output
        vectors.append(output.vector)
    if not vectors:
        raise MissingInput("an item with images needs at least one", field="images.images")
    return unit_vector(np.mean(vectors, axis=0, dtype=np.float32), dimension, "images.images")


def _inputs(item: NewItem | ClipsearchError) -> list[EmbedInput | ClipsearchError]:
    if isinstance(item, NewItem) and isinstance(item.content, ImagesInput):
        return [ImageInput(data) for data in item.content.images]
    if isinstance(item, NewItem) and isinstance(item.content, TextInput):
        return [item.content]
    return []


def _content_hash(content: Content | None) -> bytes | None:
    """What identifies the content: the same content is not written again, though its embedding may come out a little
    different in another batch.
    """
    if content is None:
        return None
    digest = hashlib.sha256()
    if isinstance(content, ImagesInput):
        digest.update(b"images")
        for data in content.images:
            digest.update(hashlib.sha256(data).digest())
    elif isinstance(content, TextInput):
        digest.update(b"text" + content.text.encode())
    else:
        digest.update(b"vector" + content.vector.tobytes())
    return digest.digest()


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
