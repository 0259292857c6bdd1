"""What a caller may ask of the writer, and what it is answered."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.items import Item
from clipsearch.errors import (
    BadItemId,
    BadMetadata,
    BadVector,
    ClipsearchError,
    DuplicateId,
    EmbeddingDamaged,
    InvalidInput,
    MissingInput,
    WrongDimension,
)


class Change(StrEnum):
    """What became of one item, or of one id to delete."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    UNCHANGED = "UNCHANGED"
    DELETED = "DELETED"
    NOT_FOUND = "NOT_FOUND"


Outcome = Change | ClipsearchError


@dataclass(frozen=True, slots=True)
class Upsert:
    """Items to create or update. ``request_id``, where given, makes the same request safe to repeat."""

    items: Sequence[Item]
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Items to delete, by id. ``request_id`` as for Upsert."""

    ids: Sequence[str]
    request_id: str | None = None


Mutation = Upsert | Delete


@dataclass(frozen=True, slots=True)
class Applied:
    """One mutation, committed.

    ``seq`` is its sequence number, or that of the catalogue where it changed nothing; ``outcomes`` has one entry for
    each item or id, in order. The rest is what the state in memory must be told: ``rows`` int64 [n] ascending that were
    added, their ``ids`` and ``embeddings`` float16 [n, dimension], and ``removed`` int64 [m], the rows that died.
    ``repeated`` says that a request id brought back an earlier answer, in which case there is nothing to tell.
    """

    seq: int
    outcomes: tuple[Outcome, ...]
    rows: NDArray[np.int64]
    ids: tuple[str, ...]
    embeddings: NDArray[np.float16]
    removed: NDArray[np.int64]
    repeated: bool = False


# What may be wrong with one item, to be found again by its reason.
_ITEM_ERRORS: dict[str, type[ClipsearchError]] = {
    kind.reason: kind
    for kind in (
        InvalidInput,
        BadItemId,
        DuplicateId,
        BadMetadata,
        BadVector,
        WrongDimension,
        MissingInput,
        EmbeddingDamaged,
    )
}


def fingerprint(mutation: Mutation) -> bytes:
    """Return the SHA-256 of all that a mutation asks for, its request id left out."""
    digest = hashlib.sha256()
    if isinstance(mutation, Delete):
        digest.update(json.dumps(["delete", *mutation.ids]).encode())
        return digest.digest()
    for item in mutation.items:
        # A content hash stands for the embedding, which may come out a little different when it is computed again.
        unhashed = item.embedding is not None and item.content_hash is None
        blob = item.embedding.tobytes() if item.embedding is not None and unhashed else b""
        content = None if item.content_hash is None else item.content_hash.hex()
        digest.update(json.dumps([item.id, item.metadata, item.uri, content, len(blob)]).encode())
        digest.update(blob)
    return digest.digest()


def outcomes_to_json(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as a JSON list: ``["CREATED", 499]`` for a run of equal ones, an object for an error."""
    runs: list[object] = []
    for outcome, run in groupby(outcomes):
        if isinstance(outcome, Change):
            runs.append([outcome.value, len(list(run))])
        else:  # errors are equal only to themselves, so each is a run of its own
            runs.append({"reason": outcome.reason, "message": outcome.message, "field": outcome.field})
    return json.dumps(runs)


def outcomes_from_json(text: str) -> tuple[Outcome, ...]:
    """Return what ``outcomes_to_json`` was given."""
    outcomes: list[Outcome] = []
    for run in json.loads(text):
        if isinstance(run, list):
            outcomes += [Change(run[0])] * run[1]
        else:
            outcomes.append(_ITEM_ERRORS[run["reason"]](run["message"], field=run["field"]))
    return tuple(outcomes)
