"""Which model serves: asked once by every call, at its beginning, and kept to its end.

A model can be replaced while calls run. So whatever a call does is done with one model: its text is tokenised, encoded
and searched for by the same one, whichever serves when its turn comes. Everything that a lane is given carries its
model (``Pinned``), and a batch that holds items of two of them, which happens around a swap, is run in two parts. (A
lane per model was the alternative: two sets of workers would then share the cores, and neither would know the other's
queue.) A model that no call holds any more is gone with its sessions.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from clipsearch.collection import Collection
from clipsearch.data import DataDirectory
from clipsearch.errors import ClipsearchError, CollectionExists, CollectionNotFound, ModelReplaced
from clipsearch.ports import ImageEncoder, ImagePreprocessor, TextEncoder, Tokenizer
from clipsearch.services.searcher import Searcher

AT, NEXT = "@", "next"
"""Between a collection's name and which of those that have it, where not the one that serves."""

Item = TypeVar("Item")
Output = TypeVar("Output")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a caller can build on, as in the bundle's manifest."""

    source: str
    weight_hash: str
    dimension: int
    context_length: int
    image_size: int
    precision: str
    logit_scale: float


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Model:
    """One model as it serves: the ways into its vector space, and what is searched there.

    ``data`` holds vectors of this model, and ``searcher`` searches them; both are None where the server only embeds.
    """

    facts: ModelFacts
    tokenizer: Tokenizer
    preprocessor: ImagePreprocessor
    text: TextEncoder
    image: ImageEncoder
    data: DataDirectory | None
    searcher: Searcher | None

    @property
    def weight_hash(self) -> str:
        """Vectors of different hashes do not compare."""
        return self.facts.weight_hash

    @property
    def dimension(self) -> int:
        """Components of every vector."""
        return self.facts.dimension


@dataclass(frozen=True, slots=True)
class Where:
    """A collection, and the model of its vectors."""

    model: Model
    collection: Collection


class Serving:
    """The model that serves now. Any thread may read it or replace it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.staged: Model | None = None
        """The model that is to take over, with collections of its own; None where there is none."""
        self.under_way: Counter[tuple[str, str]] = Counter()
        """Collections and ids of items that are being written to the collections of both models just now."""
        self.promoting = False
        """Whether the staged model takes over this very moment, and will not be asked again what it lacks."""

    @property
    def data(self) -> DataDirectory:
        """The collections; only for a server that has some."""
        assert self.model.data is not None, "asked by what is there only with a data directory"
        return self.model.data

    def where(self, collection: str) -> Where:
        """Return a collection, the default one for an empty name, with its model; raises CollectionNotFound.

        ``NAME@next`` is the one of that name that the staged model has.
        """
        name, at, which = collection.partition(AT)
        model = self.model if not at else self.staged if which == NEXT else None
        if model is None:
            raise CollectionNotFound(f"there is no collection {collection!r}", metadata={"collection": collection})
        assert model.data is not None, "asked by what is there only with a data directory"
        return Where(model, model.data.collection(name))

    def names(self) -> list[str]:
        """Return the names that ``where`` knows, sorted, those of the staged model last."""
        staged = self.staged
        following = [] if staged is None or staged.data is None else staged.data.names()
        return [*self.data.names(), *(f"{name}{AT}{NEXT}" for name in following)]

    def create(self, name: str) -> None:
        """Make an empty collection, for a staged model as well; raises BadCollectionName or CollectionExists."""
        self._change(lambda data: data.create(name), CollectionExists)

    def delete(self, name: str) -> None:
        """Delete a collection, the staged model's as well; raises CollectionNotFound."""
        self._change(lambda data: data.delete(name), CollectionNotFound)

    def _change(self, change: Callable[[DataDirectory], None], done: type[ClipsearchError]) -> None:
        """Change the collections that serve, then the staged model's, where ``done`` says that it was done before."""
        staged = self.staged
        try:
            change(self.data)
        except ModelReplaced:
            change(self.data)  # of the model that took over
            return
        if staged is not None and staged.data is not None:
            with suppress(done):
                change(staged.data)

    def collection(self, name: str) -> Collection:
        """Return a collection, the default one for an empty name; raises CollectionNotFound."""
        return self.where(name).collection


@dataclass(frozen=True, slots=True)
class Pinned(Generic[Item]):
    """An item of a lane, and the model to run it with."""

    model: Model
    item: Item


def run_by_model(
    run: Callable[[Model, Sequence[Item]], Sequence[Output | ClipsearchError]],
    batch: Sequence[Pinned[Item]],
) -> Sequence[Output | ClipsearchError]:
    """Run one batch of a lane, the items of each model by themselves."""
    groups: dict[Model, list[int]] = {}
    for i, pinned in enumerate(batch):
        groups.setdefault(pinned.model, []).append(i)
    outputs: dict[int, Output | ClipsearchError] = {}
    for model, members in groups.items():
        outputs.update(zip(members, run(model, [batch[i].item for i in members]), strict=True))
    return [outputs[i] for i in range(len(batch))]
