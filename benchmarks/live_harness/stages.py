"""When a build was in which of its stages."""

import time


class Stages:
    """Takes a build's reports; times are of ``time.perf_counter``."""

    def __init__(self) -> None:
        self._began: list[tuple[str, float]] = [("starting", time.perf_counter())]

    def report(self, stage: str, done: int, total: int) -> None:
        """Note that ``stage`` goes on."""
        if self._began[-1][0] != stage:
            self._began.append((stage, time.perf_counter()))
        if stage == "tuning" and done >= total:
            # What follows the last report: checksums, flushing, publishing, opening, the swap.
            self._began.append(("publishing", time.perf_counter()))

    def at(self, moment: float) -> str:
        """Return the stage at a moment."""
        return [stage for stage, began in self._began if began <= moment or stage == "starting"][-1]

    def seconds(self) -> dict[str, float]:
        """Return how long each stage took, up to now."""
        ends = [began for _, began in self._began[1:]] + [time.perf_counter()]
        found: dict[str, float] = {}
        for (stage, began), end in zip(self._began, ends, strict=True):
            found[stage] = found.get(stage, 0.0) + end - began
        return found
