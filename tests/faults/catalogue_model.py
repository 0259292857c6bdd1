"""What a catalogue should hold, kept in a dictionary: random groups of mutations, and the state after each of them.

Written apart from the catalogue's own code on purpose: the two agree only if both are right.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Change, Delete, Mutation, Outcome, Upsert, outcomes_from_json
from clipsearch.catalogue.schema import catalogue_file, connect_reader

DIMENSION = 128
IDS = 60

VERSIONS = 5
"""Vectors that each item may have, all different, so that nothing passes for another item or an older version."""

_drawn = np.random.default_rng(0).standard_normal((IDS, VERSIONS, DIMENSION))
_VECTORS = (_drawn / np.linalg.norm(_drawn, axis=2, keepdims=True)).astype(np.float16)
_NAN = np.full(DIMENSION, np.nan, dtype=np.float16)


def random_groups(seed: int, turn: int, count: int) -> Iterator[list[Mutation]]:
    """Yield ``count`` groups that depend on the numbers alone; some mutations come again, some items are bad."""
    rng = np.random.default_rng((seed, turn))
    asked: list[Mutation] = []
    for _ in range(count):
        group: list[Mutation] = []
        for _ in range(int(rng.integers(1, 6))):
            if asked and rng.random() < 0.15:
                group.append(asked[int(rng.integers(len(asked)))])
                continue
            mutation = _random_mutation(rng, f"{turn}-{len(asked)}")
            asked.append(mutation)
            group.append(mutation)
        yield group


def _random_mutation(rng: np.random.Generator, name: str) -> Mutation:
    request_id = name if rng.random() < 0.7 else None
    if rng.random() < 0.3:
        return Delete([f"i{n}" for n in rng.integers(0, IDS, rng.integers(1, 8))], request_id)
    return Upsert([_random_item(rng) for _ in range(int(rng.integers(1, 40)))], request_id)


def _random_item(rng: np.random.Generator) -> Item:
    number, version = int(rng.integers(IDS)), int(rng.integers(VERSIONS))
    bad = rng.random()
    return Item(
        f"i{number}",
        "[]" if bad < 0.02 else f'{{"n":{rng.integers(3)},"text":"{"x" * int(rng.integers(300))}"}}',
        _NAN if 0.02 <= bad < 0.04 else _VECTORS[number, version],
        content_hash=bytes([version]),
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """One live item."""

    row: int
    metadata: str
    content_hash: bytes | None
    embedding: bytes


@dataclass(slots=True)
class State:
    """Everything that a catalogue tells: live items by id, rows that died by sequence number, numbers, answers."""

    items: dict[str, Stored] = field(default_factory=dict)
    deaths: dict[int, int] = field(default_factory=dict)
    seq: int = 0
    next_row: int = 0
    requests: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)

    def after(self, group: list[Mutation]) -> "State":
        """Return the state after a group of mutations."""
        state = State(dict(self.items), dict(self.deaths), self.seq, self.next_row, dict(self.requests))
        for mutation in group:
            state._apply(mutation)
        return state

    def _apply(self, mutation: Mutation) -> None:
        if mutation.request_id in self.requests:
            return
        self.seq += 1
        before = (self.next_row, len(self.deaths))
        words = self._upsert(mutation) if isinstance(mutation, Upsert) else self._delete(mutation)
        if (self.next_row, len(self.deaths)) == before:
            self.seq -= 1
        if mutation.request_id is not None:
            self.requests[mutation.request_id] = (self.seq, tuple(words))

    def _upsert(self, upsert: Upsert) -> Iterator[str]:
        words, seen = [], set()
        for item in upsert.items:
            assert item.embedding is not None
            old = self.items.get(item.id)
            if item.id in seen:
                words.append("ID_DUPLICATE")
            elif np.isnan(item.embedding).any():
                words.append("VECTOR_NOT_USABLE")
            elif item.metadata == "[]":
                words.append("METADATA_NOT_USABLE")
            elif old is not None and (old.metadata, old.content_hash) == (item.metadata, item.content_hash):
                words.append("UNCHANGED")
            else:
                words.append("CREATED" if old is None else "UPDATED")
                if old is not None:
                    self.deaths[old.row] = self.seq
                blob = item.embedding.tobytes()
                self.items[item.id] = Stored(self.next_row, item.metadata, item.content_hash, blob)
                self.next_row += 1
            seen.add(item.id)
        return iter(words)

    def _delete(self, delete: Delete) -> Iterator[str]:
        words = []
        for item_id in delete.ids:
            old = self.items.pop(item_id, None)
            words.append("NOT_FOUND" if old is None else "DELETED")
            if old is not None:
                self.deaths[old.row] = self.seq
        return iter(words)


def read_state(collection: Path) -> State:
    """Read a catalogue without its own reader."""
    with closing(connect_reader(catalogue_file(collection))) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        state = State(seq=meta["seq"], next_row=meta["next_row"])
        select = "SELECT row, id, metadata, content_hash, embedding, deleted_seq FROM items"
        for row, item_id, metadata, content_hash, embedding, deleted_seq in connection.execute(select):
            if deleted_seq is not None:
                state.deaths[row] = deleted_seq
                continue
            assert item_id not in state.items, f"{item_id} lives twice"
            state.items[item_id] = Stored(row, metadata, content_hash, embedding)
        for request_id, seq, outcome in connection.execute("SELECT request_id, seq, outcome FROM requests"):
            state.requests[request_id] = (seq, tuple(map(word, outcomes_from_json(outcome))))
    return state


def word(outcome: Outcome) -> str:
    """Return the change, or the reason of the error."""
    return outcome.value if isinstance(outcome, Change) else outcome.reason
