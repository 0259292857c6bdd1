"""What every use case is told about the call it serves, and where it writes the time it spent."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from clipsearch.batching.admission import Admission
from clipsearch.batching.places import Demand
from clipsearch.ports import Priority


def _nobody() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Call:
    """One request's standing: who asks, how urgent it is, and until when somebody waits.

    Times are on ``time.monotonic``, so that nothing expires or lives for ever because somebody sets the clock.
    """

    priority: Priority = Priority.INTERACTIVE
    deadline: float = float("inf")
    started: float = field(default_factory=time.monotonic)
    who: Callable[[], str] = _nobody
    """Tells whoever shares the server fairly with others, see ``rpc.callers``; empty where nobody knows."""

    def demand(self, admission: Admission, cost: int = 1, held_bytes: int = 0, ready_s: float = 0.0) -> Demand:
        """What this call asks of a lane for one item; its caller has a name only where one is needed."""
        caller = self.who() if admission.crowded else ""
        return Demand(self.priority, caller, self.deadline, cost, held_bytes, ready_s)


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
