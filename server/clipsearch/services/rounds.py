"""Searching deeper, round by round, until a page is full.

Depths are fixed steps (128, 512, 2,048 …), whatever page is asked for, and the rows shown before count into them: an
approximate index answers otherwise at another depth, so pages that come out of one step are cut from one list.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.filters.compile import field_path
from clipsearch.collection import Collection
from clipsearch.errors import (
    BadCollapse,
    BadGroupField,
    BadOffset,
    BadPageToken,
    FilterTooComplex,
    MalformedFilter,
    SearchTooDeep,
    UnusableIndex,
)
from clipsearch.index.view import View
from clipsearch.ports import Rows, Vectors
from clipsearch.services.paging import Before, before_of
from clipsearch.services.searcher import Neighbours
from clipsearch.services.shaping import GroupKey, Picker, Shape, Suppressors, directions, group_key

FIRST_DEPTH = 128
"""Candidates of the first round: what they cost an index hardly shows beside ten."""

DEEPER = 4
"""How much deeper each further round looks: few rounds, and the last one at most four times too deep."""

BLOCK = 128
"""Candidates whose metadata are read at once."""

_NONE: Rows = np.empty(0, np.int64)

Nearest = Callable[[int], Awaitable[Neighbours]]
"""Finds this many rows that were not shown yet, best first, with vectors where hits collapse or the caller sees them;
fewer only where there are no more."""

MetadataOf = Callable[[Rows], list[dict[str, object]]]
"""Reads the metadata of rows from the disk."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is wanted: hits ``shape.offset`` to ``shape.offset + top_k`` after those ``before`` it.

    ``path`` is the field to group by, ``suppressors`` what the hits before keep from being hits. ``view`` is the state
    that every round searches: of two, an item written between them would be in neither.
    """

    shape: Shape
    top_k: int
    max_depth: int
    before: Before
    path: tuple[str, ...]
    suppressors: Suppressors
    view: View

    @property
    def end(self) -> int:
        """How many hits this page uses up, those skipped included."""
        return self.shape.offset + self.top_k


@dataclass(frozen=True, slots=True)
class Hits:
    """The hits of a page, as ``Neighbours`` has them; ``next_before`` is None where no more were found."""

    rows: Rows
    scores: NDArray[np.float32]
    vectors: Vectors | None
    seq: int
    next_before: Before | None


def check_shape(shape: Shape, top_k: int, max_depth: int) -> None:
    """Raise BadOffset, BadCollapse or SearchTooDeep for what can be told without looking."""
    if shape.offset < 0:
        raise BadOffset(f"offset is {shape.offset}, but must not be negative", field="offset")
    if shape.offset and shape.page_token:
        raise BadOffset("a page token goes on where its page ended; give it without an offset", field="offset")
    if shape.collapse_above is not None and not 0.0 < shape.collapse_above < 1.0:
        raise BadCollapse(
            f"collapse_above is {shape.collapse_above}, but must be between 0 and 1, both excluded",
            field="collapse_above",
        )
    _check_depth(shape.offset + top_k, max_depth, "offset")


def open_page(collection: Collection, shape: Shape, top_k: int, max_depth: int, mark: bytes) -> Page:
    """Return the page to fill; reads the disk where hits are grouped or collapsed.

    Raises BadPageToken, SearchTooDeep or BadGroupField.
    """
    path = _path_of(shape.group_by) if shape.group_by else ()
    view = collection.view
    if not shape.page_token:
        return Page(shape, top_k, max_depth, Before(view.end_row - 1, _NONE), path, _nothing(view.dimension), view)
    before = before_of(shape.page_token, mark)
    _check_depth(len(before.rows) + top_k, max_depth, "page_token")
    return Page(shape, top_k, max_depth, before, path, _suppressors(collection, shape, path, before), view)


async def fill_page(page: Page, metadata_of: MetadataOf, nearest: Nearest) -> Hits:
    """Search round by round until the page is full, and one hit more tells that there is another, or nothing is left.

    Nothing is left as well where ``max_depth`` candidates were looked at.
    """
    shown = len(page.before.rows)
    keys: dict[int, GroupKey | None] = {}
    for depth in depths(shown + page.end + 1, page.max_depth + 1):
        near = await nearest(depth - shown)
        if page.shape.drops:
            kept = await asyncio.to_thread(_kept, page, metadata_of, near, keys)
        else:
            kept = np.flatnonzero(near.rows <= page.before.newest)[: page.end + 1]
        if len(kept) > page.end or len(near.rows) < depth - shown:
            break
    used, chosen = kept[: page.end], kept[page.shape.offset : page.end]
    more = page.before.shown(near.rows[used]) if len(kept) > page.end else None
    vectors = None if near.vectors is None else near.vectors[chosen]
    return Hits(near.rows[chosen], near.scores[chosen], vectors, page.view.seq, more)


def depths(least: int, most: int) -> Iterator[int]:
    """Yield the steps from the first that is at least ``least``, and ``most`` in the end; ``least <= most``."""
    depth = FIRST_DEPTH
    while depth < most:
        if depth >= least:
            yield depth
        depth *= DEEPER
    yield most


def _kept(page: Page, metadata_of: MetadataOf, near: Neighbours, keys: dict[int, GroupKey | None]) -> Rows:
    """Return the places of the hits among the candidates, at most one more than the page uses up. Reads the disk."""
    candidates = np.flatnonzero(near.rows <= page.before.newest)
    picker = Picker(page.end + 1, page.suppressors.copy(), page.shape.collapse_above)
    for start in range(0, len(candidates), BLOCK):
        block = candidates[start : start + BLOCK]
        groups = _groups(metadata_of, near.rows[block], page.path, keys) if page.path else None
        vectors = None if page.shape.collapse_above is None or near.vectors is None else near.vectors[block]
        picker.take(len(block), groups, vectors)
        if picker.full:
            break
    kept: Rows = candidates[np.array(picker.kept, np.int64)]
    return kept


def _groups(
    metadata_of: MetadataOf, rows: Rows, path: tuple[str, ...], keys: dict[int, GroupKey | None]
) -> list[GroupKey | None]:
    """Return the groups of rows; ``keys`` has those of earlier rounds, and is added to."""
    unknown = [row for row in rows.tolist() if row not in keys]
    for row, metadata in zip(unknown, metadata_of(np.array(unknown, np.int64)), strict=True):
        keys[row] = group_key(metadata, path)
    return [keys[row] for row in rows.tolist()]


def _suppressors(collection: Collection, shape: Shape, path: tuple[str, ...], before: Before) -> Suppressors:
    """Return what the hits shown before suppress, from the catalogue: it knows them also where they were deleted."""
    suppressors = _nothing(collection.view.dimension)
    try:
        if path:
            suppressors.groups.update(
                key for one in collection.metadata(before.rows) if (key := group_key(one, path)) is not None
            )
        if shape.collapse_above is not None:
            stored = collection.reader.embeddings(before.rows).vectors
            suppressors.vectors = directions(stored.astype(np.float32))
    except UnusableIndex as error:
        raise BadPageToken(
            "the page token is of rows that this collection does not have", field="page_token"
        ) from error
    return suppressors


def _nothing(dimension: int) -> Suppressors:
    return Suppressors(set(), np.empty((0, dimension), np.float32))


def _path_of(group_by: str) -> tuple[str, ...]:
    try:
        return field_path(group_by)
    except (MalformedFilter, FilterTooComplex) as error:
        raise BadGroupField("group_by is not a field path, such as colour or size.eu", field="group_by") from error


def _check_depth(depth: int, max_depth: int, field: str) -> None:
    if depth > max_depth:
        raise SearchTooDeep(
            f"the page ends at hit {depth}, and no search goes deeper than {max_depth}",
            field=field,
            metadata={"depth": str(depth), "max_search_depth": str(max_depth)},
        )
