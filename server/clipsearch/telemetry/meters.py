"""The observers that count. Each is called once per request or batch, and costs it a few microseconds at most."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from clipsearch.batching.policy import BatchPolicy
from clipsearch.batching.queue import Entry
from clipsearch.errors import ClipsearchError
from clipsearch.ports import Priority
from clipsearch.telemetry.histogram import Histogram

SECONDS: Final = (
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""From tokenising a word to a deadline nobody waits for."""

ITEMS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
FILL: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

Stage = Literal["encode", "search", "write"]


class RequestMeter:
    """Counts calls and their durations. Used on the event loop alone."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        """By method and status code."""
        self.seconds: dict[str, Histogram] = {}

    def __call__(self, method: str, code: str, reason: str, seconds: float) -> None:
        """Count a call that ended; see ``rpc.observed.RequestObserver``."""
        self.ended[method, code] += 1
        durations = self.seconds.get(method)
        if durations is None:
            durations = self.seconds[method] = Histogram(SECONDS)
        durations.observe(seconds)


class LaneMeter:
    """Counts the batches of one lane."""

    def __init__(self, policy: BatchPolicy, stage: Stage, searched_s: Callable[[Any], float] | None = None) -> None:
        """``stage`` is what the lane's runs do; ``searched_s`` tells of an output how much of it was searching."""
        self._policy = policy
        self._searched_s = searched_s
        self.waits = {priority: Histogram(SECONDS) for priority in Priority}
        self.items, self.fill, self.seconds = Histogram(ITEMS), Histogram(FILL), Histogram(SECONDS)
        self.stages: dict[str, Histogram] = {stage: Histogram(SECONDS)}
        self._stage = self.stages[stage]
        self._search = self.stages.setdefault("search", Histogram(SECONDS)) if searched_s else None

    def __call__(
        self,
        batch: Sequence[Entry[Any, Any]],
        outputs: Sequence[object | ClipsearchError],
        started: float,
        finished: float,
    ) -> None:
        """Count a batch that ran; see ``batching.lane.Observer``."""
        size, ran_s = len(batch), finished - started
        for priority, waits in self.waits.items():
            waits.observe_all([started - entry.enqueued for entry in batch if entry.priority is priority])
        self.items.observe(size)
        lengths = [entry.length for entry in batch]
        padded = sum(lengths) + self._policy.padding(size, max(lengths), sum(lengths))
        # An item over the budget goes alone, and fills no more than all of it.
        self.fill.observe(min(1.0, max(size / self._policy.max_items, padded / self._policy.max_cost)))
        self.seconds.observe(ran_s)
        if self._searched_s is None or self._search is None:
            self._stage.observe(ran_s, size)
            return
        searched = [self._searched_s(output) for output in outputs]
        self._stage.observe_all([ran_s - one for one in searched])
        self._search.observe_all([one for one in searched if one > 0.0])


class PreprocessMeter:
    """Counts what was decoded and tokenised, and what could not be."""

    def __init__(self) -> None:
        self.seconds = {"text": Histogram(SECONDS), "image": Histogram(SECONDS)}
        self.failures: Counter[tuple[str, str]] = Counter()
        """By lane and the error's reason."""

    def __call__(self, lane: str, started: float, finished: float, error: ClipsearchError | None) -> None:
        """Count one input; see ``services.embed.PreprocessObserver``."""
        if error is None:
            self.seconds[lane].observe(finished - started)
        else:
            self.failures[lane, error.reason] += 1
