"""What a run tells about itself: the tally, and how far it is."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """What became of the items so far. ``updated_metadata`` are those of ``updated`` whose pictures were not sent."""

    created: int = 0
    updated: int = 0
    updated_metadata: int = 0
    unchanged: int = 0
    removed: int = 0
    rejected: int = 0

    @property
    def accepted(self) -> int:
        """Items of the source that the server has."""
        return self.created + self.updated + self.unchanged

    @property
    def done(self) -> int:
        """Items of the source that are dealt with."""
        return self.accepted + self.rejected


Report = Callable[[int, Tally], None]
"""Told the position in the source and the tally, often."""


def silent(position: int, tally: Tally) -> None:
    """Report nothing."""
