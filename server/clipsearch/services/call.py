"""What every use case is told about the call it serves, and where it writes the time it spent."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from clipsearch.ports import Priority


@dataclass(frozen=True, slots=True)
class Call:
    """One request's standing: how urgent, and until when somebody waits. Times are on ``time.monotonic``."""

    priority: Priority = Priority.INTERACTIVE
    deadline: float = float("inf")
    started: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Stages:
    """Seconds one item spent in each stage; zero for stages it skipped."""

    preprocess_s: float = 0.0
    queue_s: float = 0.0
    encode_s: float = 0.0
    search_s: float = 0.0

    @classmethod
    def longest(cls, several: Iterable["Stages"]) -> "Stages":
        """The longest time that any of several items spent in each stage."""
        stages = cls()
        for one in several:
            stages.preprocess_s = max(stages.preprocess_s, one.preprocess_s)
            stages.queue_s = max(stages.queue_s, one.queue_s)
            stages.encode_s = max(stages.encode_s, one.encode_s)
            stages.search_s = max(stages.search_s, one.search_s)
        return stages
