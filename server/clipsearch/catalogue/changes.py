"""What one mutation does to the rows: decided here, without a database, and written by the writer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipsearch.catalogue.items import CheckedItem, Known, check_id
from clipsearch.catalogue.mutations import Applied, Change, Outcome
from clipsearch.errors import BadItemId, ClipsearchError, EmbeddingDamaged, MissingInput


@dataclass(slots=True)
class NextNumbers:
    """The sequence number and the row that come next."""

    seq: int
    row: int


class Changes:
    """The rows that a mutation adds and removes.

    ``added`` holds (row, item, content hash, embedding as little-endian bytes), ``removed`` the rows that die.
    """

    def __init__(self, dimension: int) -> None:
        self.added: list[tuple[int, CheckedItem, bytes | None, bytes]] = []
        self.removed: list[int] = []
        self._dimension = dimension

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not (self.added or self.removed)

    def upsert(
        self, items: Sequence[CheckedItem | ClipsearchError], known: Mapping[str, Known], first_row: int
    ) -> tuple[Outcome, ...]:
        """Decide about items, given what is stored of them and the next row; returns an outcome for each."""
        outcomes: list[Outcome] = []
        for item in items:
            if isinstance(item, ClipsearchError):
                outcomes.append(item)
                continue
            old = known.get(item.id)
            if old is not None and _is_unchanged(item, old):
                outcomes.append(Change.UNCHANGED)
                continue
            try:
                content_hash, blob = _content(item, old)
            except ClipsearchError as error:
                outcomes.append(error)
                continue
            self.added.append((first_row + len(self.added), item, content_hash, blob))
            if old is not None:
                self.removed.append(old.row)
            outcomes.append(Change.CREATED if old is None else Change.UPDATED)
        return tuple(outcomes)

    def delete(self, ids: Sequence[str], find: Callable[[Sequence[str]], Mapping[str, int]]) -> tuple[Outcome, ...]:
        """Decide about ids to delete; ``find`` gives the rows of those that live. A second time an id is not found."""
        outcomes: list[Outcome | None] = [None] * len(ids)
        for i, item_id in enumerate(ids):
            try:
                check_id(item_id)
            except BadItemId as error:
                outcomes[i] = error
        rows = dict(find([item_id for item_id, outcome in zip(ids, outcomes, strict=True) if outcome is None]))
        decided: list[Outcome] = []
        for item_id, outcome in zip(ids, outcomes, strict=True):
            row = None if outcome is not None else rows.pop(item_id, None)
            if row is not None:
                self.removed.append(row)
            decided.append(outcome or (Change.NOT_FOUND if row is None else Change.DELETED))
        return tuple(decided)

    def applied(self, seq: int, outcomes: tuple[Outcome, ...], *, repeated: bool = False) -> Applied:
        """Return the answer to the mutation, at its sequence number."""
        joined = b"".join(blob for _, _, _, blob in self.added)
        return Applied(
            seq=seq,
            outcomes=outcomes,
            rows=np.array([row for row, _, _, _ in self.added], dtype=np.int64),
            ids=tuple(item.id for _, item, _, _ in self.added),
            embeddings=np.frombuffer(joined, dtype="<f2").reshape(len(self.added), self._dimension),
            removed=np.array(self.removed, dtype=np.int64),
            repeated=repeated,
        )


def _is_unchanged(item: CheckedItem, old: Known) -> bool:
    if (item.metadata, item.uri) != (old.metadata, old.uri):
        return False
    if item.embedding is None:
        return True
    if item.content_hash != old.content_hash:
        return False
    return item.content_hash is not None or item.embedding == old.embedding


def _content(item: CheckedItem, old: Known | None) -> tuple[bytes | None, bytes]:
    """Return the content hash and the embedding to write: the item's own, or else those that are stored."""
    if item.embedding is not None:
        return item.content_hash, item.embedding
    if old is None:
        raise MissingInput("a new item needs an embedding", field="embedding")
    if old.embedding is None:
        raise EmbeddingDamaged(
            f"the stored embedding of {item.id!r} is damaged, so the item must come with a new one",
            metadata={"item_id": item.id},
        )
    return old.content_hash, old.embedding
