"""What a build tells about itself: progress, rejects, and the tally at the end."""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from clipsearch.errors import ClipsearchError

Report = Callable[[str, int, int], None]
"""Called with a stage's name, steps done and steps in all."""

REJECTS = "rejects.jsonl"


@dataclass(slots=True)
class Tally:
    """What became of the source's items.

    ``normalised`` counts vectors that came with another length than 1; ``without_metadata`` items that no metadata row
    belongs to; ``unmatched_metadata`` rows that belong to no item. ``rejected`` counts by reason.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    normalised: int = 0
    without_metadata: int = 0
    unmatched_metadata: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def accepted(self) -> int:
        """Items of the source that are in the catalogue now."""
        return self.added + self.updated + self.unchanged


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that was left out: a picture's path, or where in which file; an UPPER_SNAKE reason and a sentence."""

    path: str
    reason: str
    message: str


class Rejects(ABC):
    """Where a build lists what it leaves out; it is counted in the tally whatever is kept of it."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def add(self, path: str, reason: str, message: str) -> None:
        """List ``path`` (a picture, or where in which file) with an UPPER_SNAKE reason and a sentence."""
        self._tally.rejected[reason] += 1
        self._keep(Reject(path, reason, message))

    def error(self, path: str, error: ClipsearchError) -> None:
        """List ``path`` with an error's own reason and message."""
        self.add(path, error.reason, error.message)

    @abstractmethod
    def _keep(self, reject: Reject) -> None: ...


class FirstRejects(Rejects):
    """Keeps the first few, in memory."""

    def __init__(self, tally: Tally, most: int) -> None:
        super().__init__(tally)
        self.first: list[Reject] = []
        self._most = most

    def _keep(self, reject: Reject) -> None:
        if len(self.first) < self._most:
            self.first.append(reject)


class RejectLog(Rejects):
    """``rejects.jsonl``: one line for each thing that was left out in the last run, with its reason."""

    def __init__(self, collection: Path, tally: Tally) -> None:
        """Start the file anew; what was rejected before is tried again and listed again."""
        super().__init__(tally)
        collection.mkdir(parents=True, exist_ok=True)
        # Line by line on the disk, so that a killed build leaves its list too.
        self._file = (collection / REJECTS).open("w", encoding="utf-8", buffering=1)

    def _keep(self, reject: Reject) -> None:
        # Not ensure_ascii=False: a file name that is not valid Unicode must be listed too.
        self._file.write(json.dumps(asdict(reject)) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
