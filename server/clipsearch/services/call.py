"""What every use case is told about the call it serves, and where it writes the time it spent."""

import time
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
