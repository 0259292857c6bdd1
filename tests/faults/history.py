"""What a catalogue held at each sequence number, put together from the answers to its writers."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """What one search saw: the version of each item among its hits, at the sequence number of the answer.

    ``whole``: all items had to be among them, but those ``without``. ``first``: the item that is nearest, if it lives.
    """

    kind: str
    seq: int
    versions: Mapping[int, int]
    whole: bool = False
    without: frozenset[int] = frozenset()
    first: int | None = None
    nearest: int | None = None
    """The first hit, where ``first`` is told."""


class History:
    """The versions of one writer's items after each of its mutations. Nobody else writes them."""

    def __init__(self) -> None:
        self._seqs: list[int] = [0]
        self._states: list[Mapping[int, int]] = [{}]

    @property
    def now(self) -> Mapping[int, int]:
        """The state after the last mutation."""
        return self._states[-1]

    def note(self, seq: int, state: Mapping[int, int]) -> None:
        """Note the state that a mutation left; raises AssertionError where its number is not above those before."""
        assert seq > self._seqs[-1], f"sequence number {seq} after {self._seqs[-1]}"
        self._seqs.append(seq)
        self._states.append(dict(state))

    def at(self, seq: int) -> Mapping[int, int]:
        """Return the state at a sequence number."""
        return self._states[bisect_right(self._seqs, seq) - 1]


def check(seen: Seen, histories: list[History]) -> bool:
    """Compare what was seen with the state of its sequence number; raises AssertionError where it is of another.

    Returns whether the nearest item was found, which an approximate index may miss.
    """
    state = {item: version for history in histories for item, version in history.at(seen.seq).items()}
    wrong = {item: version for item, version in seen.versions.items() if state.get(item) != version}
    assert not wrong, f"{seen.kind} at {seen.seq}: saw {wrong}, but there was {state}"
    if seen.whole:
        missing = state.keys() - seen.versions.keys() - seen.without
        assert not missing, f"{seen.kind} at {seen.seq}: did not see {missing}"
    assert not seen.without & seen.versions.keys(), f"{seen.kind} at {seen.seq}: saw what it had excluded"
    return seen.first not in state or seen.nearest == seen.first
