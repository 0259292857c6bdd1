"""What callers give as items, and embedding it: all pictures and texts of a request together, with one model."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsearch.catalogue.items import Item, check_id, metadata_json
from clipsearch.errors import ClipsearchError, MissingInput
from clipsearch.services.call import Call, Stages
from clipsearch.services.embed import Embedded, EmbedInput, EmbedService, ImageInput, TextInput
from clipsearch.services.limits import RequestLimits
from clipsearch.services.query import VectorInput, unit_vector
from clipsearch.services.searcher import Vector
from clipsearch.services.serving import Model


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
class Made:
    """Items as the catalogue takes them, or what is wrong with each, and the longest time of each stage."""

    items: list[Item | ClipsearchError]
    stages: Stages


async def embed_items(
    embed: EmbedService, items: Sequence[NewItem | ClipsearchError], model: Model, limits: RequestLimits, call: Call
) -> Made:
    """Embed what the items are found by; errors given are passed through.

    Raises BatchTooLarge where they hold too many pictures and texts, and what ``EmbedService.batch`` raises.
    """
    wanted = [_inputs(item) for item in items]
    inputs = [one for some in wanted for one in some]
    limits.check_batch(len(inputs), "items")
    outputs = iter(await embed.batch(inputs, call, model) if inputs else [])
    parts = [[next(outputs) for _ in some] for some in wanted]
    made = [
        item if isinstance(item, ClipsearchError) else _item(item, part, model.dimension)
        for item, part in zip(items, parts, strict=True)
    ]
    stages = (output.stages for part in parts for output in part if isinstance(output, Embedded))
    return Made(made, Stages.longest(stages))


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
