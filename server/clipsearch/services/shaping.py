"""Choosing the hits of a page among candidates: one of each group, none nearly the same as a better one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.ports import Vectors

GroupKey = int | float | str
"""A metadata value that can be compared: a number as it is, anything else as its JSON. So 3 equals 3.0, but not "3"."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked of a search beyond its nearest items.

    ``offset`` hits are skipped; ``paged`` asks for a token of the next page, ``page_token`` is the one of the last.
    ``group_by`` is a field as a filter writes it, empty for none; ``collapse_above`` a cosine.
    """

    offset: int = 0
    paged: bool = False
    page_token: str = ""
    group_by: str = ""
    collapse_above: float | None = None

    @property
    def drops(self) -> bool:
        """Whether hits are left out for the sake of better ones, so that more have to be looked at than are wanted."""
        return bool(self.group_by) or self.collapse_above is not None


def group_key(metadata: dict[str, object], path: Sequence[str]) -> GroupKey | None:
    """Return what groups an item by the field at ``path``; None where it has no such field, and is alone."""
    value: object = metadata
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def directions(vectors: Vectors) -> Vectors:
    """Return vectors [n, d] at unit length in float32: float16 keeps it to a thousandth only, too little to compare."""
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


@dataclass(slots=True)
class Suppressors:
    """What the hits so far keep from being hits: others of their ``groups``, and what is near their ``vectors``.

    ``vectors`` are float32 [n, dimension] of unit length. Each is empty unless hits are grouped or collapsed.
    """

    groups: set[GroupKey]
    vectors: Vectors

    def copy(self) -> "Suppressors":
        """Return one that can be added to."""
        return Suppressors(set(self.groups), self.vectors)


class Picker:
    """Goes through candidates, best first, and keeps those that no better *kept* one stands for.

    A candidate that is dropped drops nothing itself: its group stays free, and what is near it but not near a hit is
    kept. ``kept`` are the places of those kept, counted over all blocks.
    """

    def __init__(self, want: int, before: Suppressors, collapse_above: float | None) -> None:
        """Keep up to ``want``; ``before``, what earlier hits suppress, is added to."""
        self.kept: list[int] = []
        self._want = want
        self._seen = 0
        self._suppressed = before
        self._collapse_above = collapse_above

    @property
    def full(self) -> bool:
        """Whether enough are kept."""
        return len(self.kept) >= self._want

    def take(self, count: int, groups: Sequence[GroupKey | None] | None, vectors: Vectors | None) -> None:
        """Go through the next ``count`` candidates, with a group for each, and vectors [count, dimension] of any norm.

        ``groups`` is None where nothing is grouped; ``vectors`` matter only where near-duplicates are collapsed.
        """
        keys: Sequence[GroupKey | None] = [None] * count if groups is None else groups
        used = self._suppressed.groups
        collapse = None
        if vectors is not None and self._collapse_above is not None:
            collapse = _Collapse(directions(vectors), self._suppressed.vectors, self._collapse_above)
        for i, key in enumerate(keys):
            if self.full:
                break
            if (key is not None and key in used) or (collapse is not None and collapse.is_near(i)):
                continue
            self.kept.append(self._seen + i)
            if key is not None:
                used.add(key)
            if collapse is not None:
                collapse.kept.append(i)
        self._seen += count
        if collapse is not None:
            self._suppressed.vectors = np.concatenate([self._suppressed.vectors, collapse.unit[collapse.kept]])


class _Collapse:
    """Which of a block's ``unit`` vectors are near one before the block, or one kept of it. Two matrix products."""

    def __init__(self, unit: Vectors, before: Vectors, above: float) -> None:
        self.unit = unit
        self.kept: list[int] = []
        self._near_before: NDArray[np.bool_] = np.logical_or.reduce(unit @ before.T >= above, axis=1)
        self._alike: NDArray[np.bool_] = unit @ unit.T >= above

    def is_near(self, i: int) -> bool:
        return bool(self._near_before[i] or self._alike[i, self.kept].any())
