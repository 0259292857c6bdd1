"""The engine that has a bundle in its own process."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from clipsearch.embed_job.engines import Model
from clipsearch.embed_job.items import Item, Kind, Outcome, Problem, Vector
from clipsearch.encoders.load import Encoders
from clipsearch.errors import ClipsearchError, EmptyText
from clipsearch.ports import Pixels
from clipsearch.services.build_index import TextEmbedder

TEXT_CHUNK = 512
"""Texts embedded together: enough to group them by length."""

IMAGE_CHUNK = 128
"""Pictures decoded ahead of those that are being embedded."""

IMAGE_BATCH = 32


class LocalEngine:
    """A bundle in this process.

    A block is one chunk. As a job is only ever interrupted between blocks, chunks are cut at the same items however
    often it was, and the vectors are the same to the last bit even where a model's rounding depends on the batch.
    """

    def __init__(self, encoders: Encoders, threads: int) -> None:
        """Decode on ``threads``."""
        manifest = encoders.manifest
        self.model = Model(manifest.weight_hash, manifest.precision, manifest.dimension)
        self._preprocess = encoders.preprocessor
        self._encode = encoders.image.encode
        self._embed_texts = TextEmbedder(encoders.tokenizer, encoders.text)
        self._threads = threads

    def embed(self, items: Iterable[Item], kind: Kind) -> Iterator[list[Outcome]]:
        """Yield a block for each chunk."""
        items = iter(items)
        return self._texts(items) if kind == "text" else self._pictures(items)

    def recover(self) -> None:
        """Nothing can be lost."""

    def _texts(self, items: Iterator[Item]) -> Iterator[list[Outcome]]:
        while chunk := list(islice(items, TEXT_CHUNK)):
            outcomes = [_unless_text(item) for item in chunk]
            texts = [item.content for item in chunk if isinstance(item.content, str) and item.content.strip()]
            vectors = iter(self._embed_texts(texts, lambda stage, done, total: None) if texts else ())
            yield [(item, next(vectors) if problem is None else problem) for item, problem in outcomes]

    def _pictures(self, items: Iterator[Item]) -> Iterator[list[Outcome]]:
        """Decode one chunk on threads while the one before is embedded."""
        waiting: list[tuple[Item, Future[Pixels | Problem]]] = []
        with ThreadPoolExecutor(self._threads, thread_name_prefix="decode") as decoders:
            while chunk := list(islice(items, IMAGE_CHUNK)):
                begun = [(item._replace(content=""), decoders.submit(self._decoded, item)) for item in chunk]
                if waiting:
                    yield self._embedded(waiting)
                waiting = begun
            if waiting:
                yield self._embedded(waiting)

    def _decoded(self, item: Item) -> Pixels | Problem:
        if isinstance(item.content, Problem):
            return item.content
        if not isinstance(item.content, bytes):
            raise TypeError(f"{item.content!r} was not loaded")
        try:
            return self._preprocess(item.content)
        except ClipsearchError as error:
            return Problem(error.reason, error.message)

    def _embedded(self, chunk: list[tuple[Item, "Future[Pixels | Problem]"]]) -> list[Outcome]:
        decoded = [(item, future.result()) for item, future in chunk]
        pixels = [result for _, result in decoded if not isinstance(result, Problem)]
        vectors: list[Vector] = []
        for start in range(0, len(pixels), IMAGE_BATCH):
            vectors.extend(self._encode(pixels[start : start + IMAGE_BATCH]))
        rest = iter(vectors)
        return [(item, result if isinstance(result, Problem) else next(rest)) for item, result in decoded]


def _unless_text(item: Item) -> tuple[Item, Problem | None]:
    if isinstance(item.content, Problem):
        return item, item.content
    if isinstance(item.content, str) and item.content.strip():
        return item, None
    return item, Problem(EmptyText.reason, "the text is empty")
