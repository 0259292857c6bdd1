"""Searches whose right answers are known, to ask them of another process."""

import json
from pathlib import Path

import numpy as np

from benchmarks.live_harness.context import Float32
from clipsearch.collection import Collection

K = 10
_QUERIES, _ANSWERS = "questions.npy", "answers.json"


def write_questions(directory: Path, collection: Collection, queries: Float32) -> None:
    """Store ``queries`` with the ids that the collection finds for each."""
    _, rows = collection.view.search(queries, K)
    np.save(directory / _QUERIES, queries)
    (directory / _ANSWERS).write_text(json.dumps([collection.ids(some) for some in rows]))


def read_questions(directory: Path) -> tuple[Float32, list[list[str]]]:
    """Return queries float32 [q, d] and the ids to find for each."""
    return np.load(directory / _QUERIES), json.loads((directory / _ANSWERS).read_text())


def check_answers(collection: Collection, queries: Float32, answers: list[list[str]]) -> None:
    """Ask one query after the other; raises RuntimeError at the first answer that is not the right one."""
    for query, expected in zip(queries, answers, strict=True):
        _, rows = collection.view.search(query[None], K)
        found = collection.ids(rows[0])
        if found != expected:
            raise RuntimeError(f"a search found {found} instead of {expected}")
