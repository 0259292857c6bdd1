"""``clipsearch embed --bundle``: the encoders in this process, driven by the parts of the offline build."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import TypeVar

from clipsearch.cli.embed_files import Block
from clipsearch.cli.embed_sources import Pictures, Reject, Source
from clipsearch.encoders.load import Encoders
from clipsearch.errors import EmptyText
from clipsearch.index.threads import available_cores
from clipsearch.services.build_index import TextEmbedder
from clipsearch.services.build_pictures import Embedder, Picture, Preparation, Prepared, chunks

TEXT_CHUNK = 512
"""Lines embedded together: enough to group them by length."""

_Item = TypeVar("_Item")


def embed_local(encoders: Encoders, source: Source, reject: Reject) -> Iterator[Block]:
    """Embed a source in order, in blocks; what can't be embedded goes to ``reject``. Memory does not grow."""
    if isinstance(source, Pictures):
        embedder = Embedder(encoders.preprocessor, encoders.image, threads=available_cores())
        pictures = (Picture(item_id, path, item_id, "{}") for item_id, path in source.items(reject))
        return _pictures(embedder, pictures, reject)
    return _texts(TextEmbedder(encoders.tokenizer, encoders.text), source.items(reject), reject)


def _pictures(embedder: Embedder, pictures: Iterable[Picture], reject: Reject) -> Iterator[Block]:
    """Decode one chunk on threads while the one before is embedded."""
    waiting: list[Future[Prepared]] = []
    with Preparation(embedder) as preparation:
        for chunk in chunks(pictures):
            started = preparation.start(chunk, {})
            yield from _embedded(embedder, waiting, reject)
            waiting = started
        yield from _embedded(embedder, waiting, reject)


def _embedded(embedder: Embedder, chunk: Sequence[Future[Prepared]], reject: Reject) -> Iterator[Block]:
    ids, pixels = [], []
    for prepared in (future.result() for future in chunk):
        if prepared.problem is not None:
            reject(prepared.picture.id, *prepared.problem)
        elif prepared.pixels is not None:
            ids.append(prepared.picture.id)
            pixels.append(prepared.pixels)
    for start in range(0, len(ids), embedder.batch):
        stop = start + embedder.batch
        yield ids[start:stop], embedder.encoder.encode(pixels[start:stop])


def _texts(embed: TextEmbedder, lines: Iterator[tuple[str, str]], reject: Reject) -> Iterator[Block]:
    for chunk in _cut(lines, TEXT_CHUNK):
        ids, texts = [], []
        for item_id, text in chunk:
            if text.strip():
                ids.append(item_id)
                texts.append(text)
            else:
                reject(item_id, EmptyText.reason, "the text is empty")
        if ids:
            yield ids, embed(texts, lambda stage, done, total: None)


def _cut(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while chunk := list(islice(items, size)):
        yield chunk
