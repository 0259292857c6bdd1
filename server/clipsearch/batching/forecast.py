"""When a lane would be done with one more item: what is ahead of it, at the pace of the last batches.

The finish is predicted rather than bounded by a length of queue, because callers set deadlines in seconds: sixty short
texts are nothing, and sixty pictures are a second. Everything here is a few additions per request; the model behind it
learns once per batch.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from clipsearch.batching.cost import MEMORY, Correction, CostModel
from clipsearch.batching.policy import BatchPolicy
from clipsearch.ports import Clock, Priority


@dataclass(slots=True)
class Running:
    """A batch that runs now: its priority, its cost without and with padding, and when it began on the lane's clock."""

    priority: Priority
    cost: int
    padded_cost: float
    began: float


class Forecast:
    """One lane's. Told and asked on the event loop, but for ``running``, of which each worker writes its own place."""

    def __init__(self, policy: BatchPolicy, workers: int, clock: Clock = time.monotonic) -> None:
        self.model = CostModel()
        self.correction = Correction()
        self.running: list[Running | None] = [None] * workers
        self.batch_items = policy.max_items
        """Most items of a batch."""
        self._policy = policy
        self._clock = clock
        self._item_cost = 1.0  # decaying mean, padding included

    def ran(self, items: int, padded_cost: float, seconds: float) -> None:
        """Learn from a batch that succeeded at once."""
        weight = 1.0 / min(self.model.batches + 1, MEMORY)
        self._item_cost += weight * (padded_cost / items - self._item_cost)
        self.model.observe(padded_cost, seconds)

    def finish_s(
        self,
        priority: Priority,
        cost: float,
        inside: Mapping[Priority, float],
        *,
        ready_s: float = 0.0,
        turns: float | None = None,
    ) -> float:
        """Return the seconds in which an item of this cost will be done; 0 while too little is known.

        ``inside`` is the cost of what the lane has taken on already, by priority and with the running batches. Of the
        item's own priority, ``turns`` is what all callers in turn are served before it; None where there is one caller.
        It cannot join the queue before ``ready_s``.
        """
        if not self.model.trusted:
            return 0.0
        waiting = dict(inside)
        now = self._clock()
        rests = []
        for run in self.running:
            rest = 0.0
            if run is not None:
                waiting[run.priority] -= run.cost
                rest = max(0.0, self.model.predict(run.padded_cost) - (now - run.began))
            rests.append(rest)
        before = max(0.0, waiting[priority])
        if turns is not None:
            # Who takes turns is half served on average, so as much as is left of them comes anew meanwhile.
            before = min(2.0 * before, turns)
        queue = before + cost
        queue += self._others(priority, queue, waiting)
        finish_s = max(self._drained_s(queue, rests), ready_s + self.model.predict(cost))
        return self.correction.factor * finish_s

    def share_s(self, cost: float) -> float:
        """Return the seconds by which so much more work, in full batches, makes everybody later."""
        full = self._batch_cost()
        return cost / full * self.model.predict(full) / len(self.running)

    def drain_s(self, inside: Mapping[Priority, float]) -> float:
        """Return the seconds that all of ``inside`` takes, as if none of it had begun."""
        return self._drained_s(sum(inside.values()), [0.0] * len(self.running))

    def _others(self, priority: Priority, queue: float, waiting: Mapping[Priority, float]) -> float:
        """Cost of the other priority that is served while ``queue`` of this one is."""
        share = self._policy.bulk_share
        if priority is Priority.INTERACTIVE:
            return min(max(0.0, waiting[Priority.BULK]), queue * share / (1.0 - share))
        interactive = max(0.0, waiting[Priority.INTERACTIVE])
        if interactive <= self._batch_cost():
            return interactive
        # More waits than a batch, so the lane is behind and more will come: bulk can count on its share alone.
        return queue * (1.0 - share) / share if share > 0.0 else math.inf

    def _drained_s(self, queue: float, rests: list[float]) -> float:
        """Seconds until the last of ``queue`` is done, where the workers are busy for ``rests`` seconds first."""
        if not 0.0 < queue < math.inf:
            return queue
        full = self._batch_cost()
        batches = math.ceil(queue / full)
        last = queue - (batches - 1) * full
        starts = max(min(rests), (sum(rests) + (batches - 1) * self.model.predict(full)) / len(rests))
        return starts + self.model.predict(last)

    def _batch_cost(self) -> float:
        """Cost of a full batch of items like those of late."""
        return max(1.0, min(float(self._policy.max_cost), self._policy.max_items * self._item_cost))
