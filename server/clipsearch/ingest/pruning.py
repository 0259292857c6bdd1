"""Removing what is gone from a source, and when not to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

from clipsearch.ingest.report import Tally
from clipsearch.ingest.sending import Sender
from clipsearch.ingest.state import State

BLOCK = 200
"""Items deleted in one call."""

SHARE, FEW = 0.2, 10
"""More than this share of a source's items, and more than these few, are not removed without being asked for again."""

Consent = Callable[[int, int], bool]
"""Asked with how many are gone of how many: whether they are to be removed all the same."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """``refusal`` says why nothing was removed; ``changes`` and ``last_seq`` are as of ``Sent``."""

    refusal: str = ""
    changes: int = 0
    last_seq: int = 0


def prune(
    state: State,
    sender: Sender,
    tally: Tally,
    *,
    hidden: int,
    consent: Consent,
    stop: Event,
    dry: bool,
) -> Pruned:
    """Remove the items that the last run has not met, unless another source has them too.

    Only what this source has put there is ever removed. Nothing is where parts of the source could not be read
    (``hidden``), since what was in them is not known. Raises ClientError.
    """
    gone, held = state.gone_items(), state.held()
    if not gone:
        return Pruned()
    if hidden:
        return Pruned(
            f"{gone:,} items were not met in the source, but {hidden:,} parts of it could not be read: nothing was "
            "removed"
        )
    if too_many(gone, held) and not consent(gone, held):
        return Pruned(f"{gone:,} of {held:,} items are gone from the source, and were not removed; --yes removes them")
    changes = last_seq = 0
    while not stop.is_set() and (ids := state.gone(BLOCK)):
        done = remove(state, sender, ids, dry=dry)
        tally.removed += done.removed
        changes, last_seq = changes + done.changes, max(last_seq, done.last_seq)
    return Pruned("", changes, last_seq)


def too_many(gone: int, held: int) -> bool:
    """Return whether so many are gone that it may be a mistake."""
    return gone > FEW and gone > SHARE * held


@dataclass(frozen=True, slots=True)
class Removed:
    """How many items were deleted; ``changes`` and ``last_seq`` are as of ``Sent``."""

    removed: int
    changes: int
    last_seq: int


def remove(state: State, sender: Sender, ids: Sequence[str], *, dry: bool = False) -> Removed:
    """Delete items that are gone from a source, but for those that other sources of the collection have."""
    kept: set[str] = set()
    for other in state.others():
        kept |= other.holds(ids)
    wanted = [item_id for item_id in ids if item_id not in kept]
    changes = last_seq = 0
    if wanted and not dry:
        sent = sender.delete(wanted)
        changes, last_seq = sent.changes, sent.last_seq
    state.removed(ids)
    return Removed(len(wanted), changes, last_seq)
