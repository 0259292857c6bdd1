"""Opens what a dead writer left, as a server does, and compares it with the model: stored, found, retried, clean."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.catalogue.mutations import Applied, Mutation
from clipsearch.collection import Collection
from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.services.recall import RecallMonitor
from clipsearch.services.searcher import Neighbours, Probe, Searcher
from clipsearch.verification import verify

from .catalogue_model import DIMENSION, IDS, State, read_state, word
from .dying_writer import kind_of, opened

FILES = {"catalogue.sqlite", "catalogue.sqlite-shm", "catalogue.sqlite-wal", "writer.lock", "rejects.jsonl"}
"""What a collection has besides one index."""


@dataclass(slots=True)
class Checks:
    """How much was compared."""

    states_compared: int = 0
    restarts_without_a_warning: int = 0
    items_searched: int = 0
    whole_searches: int = 0
    filtered_searches: int = 0
    mutations_retried: int = 0
    rebuilds: int = 0


class Warnings(logging.Handler):
    """Keeps what is worth a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def no_warnings(place: str) -> Iterator[None]:
    """Raise AssertionError where the server's code warned of anything inside."""
    logger, handler = logging.getLogger("clipsearch"), Warnings()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert not handler.messages, f"{place}: {handler.messages}"


def check_catalogue(
    root: Path, state: State, groups: Sequence[list[Mutation]], place: str, checks: Checks, *, seed: int, turn: int
) -> tuple[State, bool]:
    """Compare a data directory with a model, and go on with it; raises AssertionError where they differ.

    ``groups`` are those that were acknowledged since ``state``, and in the end the one that was under way: right is the
    state after all but it, or after all. Returns the state that is left, and whether the last group was stored.
    """
    for group in groups[:-1]:
        state = state.after(group)
    with no_warnings(place):
        data = opened(root, kind_of(seed, turn))  # the lock died with its holder
    checks.restarts_without_a_warning += 1
    collection = data.collection("")
    found, stored = read_state(collection.directory), False
    if found != state:
        state, stored = state.after(groups[-1]), True
    assert found == state, f"{place}: seq {found.seq} instead of {state.seq}"
    check_searches(data, state, place, checks)
    state = retry(collection, state, groups, checks)
    check_searches(data, state, place, checks)
    if turn % 4 == 3 and state.items:
        rebuild_and_look_around(collection, place)
        check_searches(data, state, place, checks)
        checks.rebuilds += 1
    verified = verify(collection.directory)
    assert verified.ok and verified.live == len(state.items), f"{place}: {verified}"
    data.close()
    assert read_state(root / DEFAULT) == state, f"{place}: a search, a rebuild or a clean close has changed something"
    checks.states_compared += 2
    return state, stored


def retry(collection: Collection, state: State, groups: Sequence[list[Mutation]], checks: Checks) -> State:
    """Repeat what has request ids: the last that were acknowledged, and what was under way; none may happen twice."""
    acknowledged = [some for group in groups[:-1] for some in group if some.request_id is not None][-5:]
    for mutation in [*acknowledged, *(some for some in groups[-1] if some.request_id is not None)]:
        assert mutation.request_id is not None
        known = mutation.request_id in state.requests
        state = state.after([mutation])
        (answer,) = collection.write([mutation])
        assert isinstance(answer, Applied) and answer.repeated == known
        assert (answer.seq, tuple(map(word, answer.outcomes))) == state.requests[mutation.request_id]
        checks.mutations_retried += 1
    return state


def check_searches(data: DataDirectory, state: State, place: str, checks: Checks) -> None:
    """Search for every item by its own vector, for all of them at once, and for those that a filter lets through."""
    searcher = Searcher(data, RecallMonitor(0.0))
    ids = list(state.items)
    stored = [np.frombuffer(item.embedding, "<f2") for item in state.items.values()]
    vectors = np.array(stored, np.float32).reshape(len(ids), DIMENSION)
    for item_id, near in zip(ids, searcher.search(vectors, [Probe(1)] * len(ids)), strict=True):
        assert isinstance(near, Neighbours) and near.ids == [item_id], f"{place}: {item_id} is not found, but {near}"
        assert near.seq == state.seq
        assert abs(float(near.scores[0]) - 1.0) < 2e-3, f"{place}: {item_id} is found with another vector"
    query = np.random.default_rng(state.seq).standard_normal((1, DIMENSION)).astype(np.float32)
    query /= np.linalg.norm(query)
    scores = dict(zip(ids, (vectors @ query[0]).tolist(), strict=True))
    numbers = {item_id: json.loads(item.metadata)["n"] for item_id, item in state.items.items()}
    for wanted in (None, 0, 1, 2):
        condition = None if wanted is None else compile_filter(f"n = {wanted}")
        probe = Probe(2 * IDS, with_vectors=True, condition=condition)
        (near,) = searcher.search(query, [probe])
        assert isinstance(near, Neighbours), near
        matching = {item_id for item_id in ids if wanted in (None, numbers[item_id])}
        assert sorted(near.ids) == sorted(matching), f"{place}: {set(near.ids) ^ matching} (n = {wanted})"
        np.testing.assert_allclose(near.scores, [scores[item_id] for item_id in near.ids], atol=1e-5)
        assert near.vectors is not None
        np.testing.assert_array_equal(near.vectors, vectors[[ids.index(item_id) for item_id in near.ids]])
        assert data.collection("").metadata(near.rows) == [json.loads(state.items[one].metadata) for one in near.ids]
    checks.items_searched += len(ids)
    checks.whole_searches += 1
    checks.filtered_searches += 3


def rebuild_and_look_around(collection: Collection, place: str) -> None:
    """Build the index anew; nothing that a dead build left may stay behind."""
    manifest = collection.rebuild()
    there = {path.name for path in collection.directory.iterdir()}
    assert there <= FILES | {f"index-{manifest.seq}"}, f"{place}: {there}"
