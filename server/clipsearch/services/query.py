"""What a search looks for: its terms, and vectors made of them."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsearch.data import DEFAULT
from clipsearch.errors import BadVector, WrongDimension
from clipsearch.services.embed import ImageInput, TextInput
from clipsearch.services.paging import mark_of
from clipsearch.services.recall import QueryKind
from clipsearch.services.searcher import Vector
from clipsearch.services.shaping import Shape

# A vector shorter than this has no direction worth the name; unit vectors are what callers send.
MIN_NORM = 1e-6


@dataclass(frozen=True, slots=True)
class VectorInput:
    """A query vector, float32 [dimension], of any length (norm)."""

    vector: Vector


@dataclass(frozen=True, slots=True)
class ItemInput:
    """An indexed item whose stored vector is the query."""

    item_id: str


QueryInput = TextInput | ImageInput | VectorInput | ItemInput


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query and how much it counts; negative to look away from it. ``field`` is where it was given."""

    query: QueryInput
    weight: float = 1.0
    field: str = "query"


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One search, checked for shape but not yet against the limits. An empty ``filter`` lets everything through."""

    terms: Sequence[Term]
    top_k: int
    collection: str = DEFAULT
    nprobe: int | None = None
    filter: str = ""
    min_seq: int = 0
    exclude_ids: Sequence[str] = ()
    min_score: float | None = None
    with_metadata: bool = False
    with_vectors: bool = False
    shape: Shape | None = None


def kind_of(terms: Sequence[Term]) -> QueryKind:
    """What recall is counted under."""
    if len(terms) == 1 and isinstance(terms[0].query, TextInput):
        return QueryKind.TEXT
    if len(terms) == 1 and isinstance(terms[0].query, ImageInput | ItemInput):
        return QueryKind.IMAGE
    return QueryKind.VECTOR


def page_mark(query: SearchQuery, shape: Shape, identity: str) -> bytes:
    """What a page token is good for: all that decides which hits there are, and in which order.

    ``identity`` is the collection's own: the rows of another one that has its name now are others.
    """
    terms = [(_content(term.query), term.weight) for term in query.terms]
    shaped = (shape.group_by, shape.collapse_above)
    limits = (query.filter, tuple(query.exclude_ids), query.min_score, query.nprobe)
    return mark_of((query.collection or DEFAULT, identity, terms, limits, shaped))


def _content(query: QueryInput) -> tuple[str, str | bytes]:
    match query:
        case TextInput(text):
            return "text", text
        case ImageInput(data):
            return "image", hashlib.sha256(data).digest()
        case VectorInput(vector):
            return "vector", vector.tobytes()
        case ItemInput(item_id):
            return "item", item_id


def weighted_sum(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """Add up unit vectors; raises BadVector where they cancel out."""
    total = np.asarray(weights, dtype=np.float64) @ np.stack(vectors)
    norm = math.sqrt(total @ total)
    if norm < MIN_NORM:
        raise BadVector("the terms cancel each other out, so there is nothing to look for", field="terms")
    unit: Vector = (total / norm).astype(np.float32)
    return unit


def unit_vector(vector: Vector, dimension: int, field: str = "vector") -> Vector:
    """Normalise a caller's vector; raises WrongDimension or BadVector."""
    if vector.shape != (dimension,):
        raise WrongDimension(
            f"the vector has {vector.size} components, the model {dimension}",
            field=field,
            metadata={"expected": str(dimension), "got": str(vector.size)},
        )
    # In float64 no float32 input overflows, so the norm is not finite only where a component is not.
    wide = vector.astype(np.float64)
    norm = math.sqrt(wide @ wide)
    if not math.isfinite(norm):
        raise BadVector("the vector holds NaN or infinity", field=field)
    if norm < MIN_NORM:
        raise BadVector("the vector has no length, so no direction", field=field)
    return (wide / norm).astype(np.float32)
