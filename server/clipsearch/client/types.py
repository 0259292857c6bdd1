"""What goes in and what comes out: plain frozen values, no protobuf.

An input's type says what it is, so nothing needs wrapping: ``str`` is always a text (never a file name), ``bytes`` an
encoded picture, and a ``Path`` a picture file, read when it is sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipsearch.client.errors import ClientError

Vector = NDArray[np.float32]
"""float32 [dimension]; of unit length when it comes from the server."""

Picture = bytes | Path
"""An encoded picture (JPEG, PNG, WebP, GIF, BMP or TIFF), or the file that holds one."""

Input = str | bytes | Path
"""A text, an encoded picture, or a picture file."""

View = Literal["basic", "metadata", "full"]
"""How much of each hit to return: id and score; and metadata; and metadata and the stored vector."""

Transport = Literal["float32", "float16"]
"""How vectors come over the wire: float16 halves the bytes and keeps cosines within about 0.001."""

Priority = Literal["interactive", "bulk"]
"""The queue that a request joins; None stands for the method's own default."""

OperationKind = Literal["rebuild", "import", "export", "snapshot", "model"]
"""What a long operation does."""

Outcome = Literal["created", "updated", "unchanged"]
"""What a write did to an item; unchanged: it was there with the same content, and nothing was written."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the server spent its time, in microseconds; zero for stages that did not run."""

    preprocess_us: int
    queue_us: int
    encode_us: int
    search_us: int
    total_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The embedding of one input; ``truncated`` says that a text was longer than the model's context and was cut."""

    vector: Vector
    truncated: bool
    timings: Timings


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What to find: exactly one of a text, a picture, a vector (any norm, float [dimension]), an item's id, or terms.

    ``terms`` are several queries with the weight of each: their weighted unit vectors are added up, and a negative
    weight looks away. A term has no terms of its own.
    """

    text: str | None = None
    image: Picture | None = None
    vector: NDArray[np.floating[Any]] | None = None
    item_id: str | None = None
    terms: Sequence[tuple["Query", float]] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError unless exactly one kind is given, a vector is one-dimensional and there are flat terms."""
        kinds = ("text", "image", "vector", "item_id", "terms")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            names = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
            raise ValueError(f"give exactly one of {names}, not {' and '.join(given) or 'none'}")
        _check_vector(self.vector)
        if self.terms is not None and not self.terms:
            raise ValueError("terms must hold at least one query with its weight")
        if any(query.terms is not None for query, _ in self.terms or ()):
            raise ValueError("a term must not have terms of its own")


def _check_vector(vector: NDArray[np.floating[Any]] | None) -> None:
    if vector is not None and np.ndim(vector) != 1:
        raise ValueError(f"vector must have one dimension, not the shape {np.shape(vector)}")


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """One item found: ``score`` is its exact cosine to the query; what the view leaves out is None.

    ``uri`` comes with the metadata, and is empty without them or where none was given.
    """

    id: str
    score: float
    metadata: dict[str, Any] | None
    vector: Vector | None
    uri: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """The nearest items, best first; ``truncated`` says that the query's text was cut to the model's context.

    ``sequence_number`` is that of the state that was searched. ``next_page_token`` asks for the next page where pages
    were asked for and there is one; empty otherwise.
    """

    hits: tuple[Hit, ...]
    truncated: bool
    timings: Timings
    sequence_number: int
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The facts of the served model.

    ``source`` is the checkpoint's name; vectors of different ``weight_hash`` do not compare; ``dimension`` is the
    length of a vector, ``context_length`` that of the longest text in tokens, ``image_size`` the side in pixels that
    pictures are brought to; ``precision`` is fp32, fp16 or int8; ``softmax(logit_scale * cosine)`` gives CLIP's
    probabilities.
    """

    source: str
    weight_hash: str
    dimension: int
    context_length: int
    image_size: int
    precision: str
    logit_scale: float


@dataclass(frozen=True, slots=True, eq=False)
class NewItem:
    """An item to write, found by at most one of a text, its pictures or a vector (any norm, float [dimension]).

    Several pictures count as the mean of their unit vectors. With none of the three, an item that is there keeps its
    embedding. ``metadata`` (what JSON can hold) and ``uri`` replace what was there.
    """

    id: str
    _: KW_ONLY
    text: str | None = None
    image: Picture | Sequence[Picture] | None = None
    vector: NDArray[np.floating[Any]] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    uri: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError if more than one kind of content is given or a vector is not one-dimensional."""
        given = [kind for kind in ("text", "image", "vector") if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"give at most one of text, image or vector, not {' and '.join(given)}")
        _check_vector(self.vector)


@dataclass(frozen=True, slots=True, eq=False)
class Upserted:
    """What became of the items of one batch, in order: what was done, or the ClientError that says why nothing was.

    A search with ``min_sequence_number=sequence_number`` sees them, or fails.
    """

    results: tuple[Outcome | ClientError, ...]
    sequence_number: int
    timings: Timings


@dataclass(frozen=True, slots=True)
class Deleted:
    """The sequence number after a deletion, and the ids that were not there."""

    sequence_number: int
    missing_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """An item as it is stored; ``sequence_number`` is that of its last write, ``vector`` None unless asked for."""

    id: str
    metadata: dict[str, Any]
    uri: str
    sequence_number: int
    vector: Vector | None


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value and how many items have it, alone or as an element of a list: as many as ``field:value`` finds."""

    value: str | float | bool
    count: int


@dataclass(frozen=True, slots=True)
class FieldFacet:
    """What one metadata field holds; ``items`` have it, and ``values`` are its most common ones, most common first.

    ``minimum`` and ``maximum`` are those of its numbers, None where it has none. ``more_values``: it holds others, or
    texts of more than 256 characters, which are never listed.
    """

    name: str
    values: tuple[FacetValue, ...]
    minimum: float | None
    maximum: float | None
    items: int
    more_values: bool


@dataclass(frozen=True, slots=True)
class Facets:
    """What the metadata of a collection's items hold, by field, in the state of ``sequence_number``."""

    fields: Mapping[str, FieldFacet]
    sequence_number: int


@dataclass(frozen=True, slots=True)
class IndexStats:
    """A derived index: of which state, ``flat`` (exact) or ``ivfpq``, its size and settings, and measured recall@10.

    ``trained_sequence_number`` is lower than ``sequence_number`` where items were added again to the lists and codes of
    an earlier index. ``nlist``, ``code_bytes`` and ``nprobe`` are 0 and it and the recalls None for an exact index; the
    recalls also for an index that was written at a shutdown, which is not measured.
    """

    sequence_number: int
    kind: str
    size: int
    nlist: int
    code_bytes: int
    nprobe: int
    image_recall: float | None
    text_recall: float | None
    build_time: datetime
    trained_sequence_number: int | None


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """The size of a collection in items, rows and bytes on disk, and its index; None while there is none.

    ``tombstones`` are rows that were replaced or deleted and still take space, ``delta_items`` those newer than the
    index, ``damaged_rows`` those whose embedding does not match its checksum. ``identity`` changes when a collection is
    deleted and made again under its name; empty from a server that does not tell. ``weight_hash`` is that of the model
    that made the vectors, empty where nobody told.
    """

    items: int
    tombstones: int
    delta_items: int
    sequence_number: int
    dimension: int
    disk_bytes: int
    damaged_rows: int
    identity: str
    weight_hash: str
    index: IndexStats | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is: what it is doing and how many steps of that are done; ``done``: it is over."""

    collection: str
    stage: str
    done_steps: int
    total_steps: int
    start_time: datetime
    done: bool


@dataclass(frozen=True, slots=True, eq=False)
class OperationState:
    """An operation as the server tells of it: a rebuild, an import, an export, a snapshot or a job about the model.

    ``error`` is what it failed with, Cancelled if it was cancelled; None while it runs and where it went well. The
    ``progress`` of a snapshot or a job about the model has no collection.
    """

    name: str
    kind: OperationKind
    progress: Progress
    error: ClientError | None


@dataclass(frozen=True, slots=True)
class ReloadedModel:
    """The model that served and the one that serves now; ``swapped`` is False where they are the same."""

    previous: ModelInfo
    model: ModelInfo
    swapped: bool


@dataclass(frozen=True, slots=True)
class StagedModel:
    """The model that is to take over; each of ``collections`` is to be filled as ``NAME@next``."""

    model: ModelInfo
    collections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromotedCollection:
    """A collection that took over: its items, and how many the old one had that it lacks."""

    collection: str
    items: int
    missing_items: int


@dataclass(frozen=True, slots=True)
class PromotedModel:
    """The model that served and the one that serves now, with its collections."""

    previous: ModelInfo
    model: ModelInfo
    collections: tuple[PromotedCollection, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that an import left out: a picture's path, or the row in which file; a ``reason`` and a sentence."""

    path: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the items of a source, and the collection's sequence number afterwards.

    ``rejected`` counts what was left out by reason; ``first_rejects`` are at most 100 of those.
    """

    created_items: int
    updated_items: int
    unchanged_items: int
    rejected: Mapping[str, int]
    first_rejects: tuple[Rejected, ...]
    sequence_number: int


@dataclass(frozen=True, slots=True)
class Exported:
    """What an exported file holds: items, and the last write's sequence number.

    It lacks ``damaged_items``, whose embeddings do not match their checksums; ``first_damaged_ids`` are at most 100.
    """

    items: int
    sequence_number: int
    damaged_items: int
    first_damaged_ids: tuple[str, ...]
    file_bytes: int
