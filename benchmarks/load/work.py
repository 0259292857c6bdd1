"""What users ask for: texts of a Zipf distribution, pictures, vectors, filters, items to write; made from a seed."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from benchmarks.harness.workload import captions, photographs
from clipsearch.v1 import catalogue_pb2, common_pb2, embedding_pb2, search_pb2

TEXTS = 2000
FILTERS = ("price < 40", "price < 80", "colour = 'red'", "category = 'dress' AND price < 60")
"""Of the sample catalogue; a filter that names what an item lacks leaves it out, so they fit any."""

WRITTEN = 2000
"""Items that upserts replace, each with an id of its own."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the options say about requests."""

    batch: int = 32
    side: int = 512
    top_k: int = 10
    zipf: float = 1.1
    """Exponent of the distribution of texts: 0 for all alike, 1.1 as queries of a shop are."""
    dimension: int = 128
    collection: str = ""


@dataclass(slots=True)
class Work:
    """An endless supply of requests of every kind."""

    sizes: Sizes
    seed: int
    _texts: Sequence[str] = field(init=False)
    _pictures: Sequence[bytes] = field(init=False)
    _random: Random = field(init=False)
    _shares: "np.ndarray[tuple[int], np.dtype[np.float64]]" = field(init=False)

    def __post_init__(self) -> None:
        # The same texts and pictures for all users, drawn in an order of each user's own.
        self._texts, self._pictures = _texts(), _pictures(self.sizes.side)
        self._random = Random(self.seed)
        self._shares = np.cumsum(zipf_shares(len(self._texts), self.sizes.zipf))

    def text(self) -> str:
        """Return a text; the first ones much more often than the last."""
        return self._texts[int(np.searchsorted(self._shares, self._random.random()))]

    def picture(self) -> bytes:
        """Return a JPEG."""
        return self._random.choice(self._pictures)

    def search(self, kind: str) -> search_pb2.SearchRequest:
        """Return a search ``by text``, ``by image``, ``composed`` or ``filtered``."""
        request = search_pb2.SearchRequest(top_k=self.sizes.top_k, collection=self.sizes.collection)
        if kind == "by image":
            request.query.image = self.picture()
        elif kind == "composed":
            request.terms.add(weight=1.0).query.text = self.text()
            request.terms.add(weight=0.5).query.image = self.picture()
            request.terms.add(weight=-0.4).query.text = self.text()
        else:
            request.query.text = self.text()
        if kind == "filtered":
            request.filter = self._random.choice(FILTERS)
        return request

    def batch(self) -> embedding_pb2.BatchEmbedRequest:
        """Return a batch of texts, one in eight of them a picture."""
        return embedding_pb2.BatchEmbedRequest(inputs=[self._input(n) for n in range(self.sizes.batch)])

    def stream(self) -> list[embedding_pb2.StreamEmbedRequest]:
        """Return the messages of a stream as long as a batch."""
        return [embedding_pb2.StreamEmbedRequest(item_id=str(n), input=self._input(n)) for n in range(self.sizes.batch)]

    def upsert(self) -> catalogue_pb2.UpsertItemsRequest:
        """Return an upsert of a few ready vectors with metadata."""
        request = catalogue_pb2.UpsertItemsRequest(collection=self.sizes.collection)
        for number in self._random.sample(range(WRITTEN), min(8, self.sizes.batch)):
            item = request.items.add(id=f"load-{number}", vector=self._vector())
            item.metadata.update({"price": self._random.randrange(200), "colour": "red"})
        return request

    def _input(self, number: int) -> embedding_pb2.EmbedInput:
        if number % 8 == 7:
            return embedding_pb2.EmbedInput(image=self.picture())
        return embedding_pb2.EmbedInput(text=self.text())

    def _vector(self) -> common_pb2.Embedding:
        vector = np.random.default_rng(self._random.getrandbits(32)).standard_normal(self.sizes.dimension)
        return common_pb2.Embedding(float16=(vector / np.linalg.norm(vector)).astype("<f2").tobytes())


@functools.cache
def _texts() -> Sequence[str]:
    return captions(TEXTS, 0)


@functools.cache
def _pictures(side: int) -> Sequence[bytes]:
    return photographs(side)


@functools.cache
def zipf_shares(count: int, exponent: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return how often each of so many is drawn, by rank, float64 [count]; the k-th as ``k ** -exponent``."""
    shares = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    whole: np.ndarray[tuple[int], np.dtype[np.float64]] = shares / shares.sum()
    return whole
