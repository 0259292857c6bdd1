"""What a person sees of an ingestion: a bar while it runs, a sentence when it is done."""

import time
from collections import deque
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from clipsearch.ingest.ingest import Outcome
from clipsearch.ingest.reasons import Rejects
from clipsearch.ingest.report import Tally

WINDOW_S = 15.0
"""Seconds that the rate is taken over."""

EVERY_S = 0.1


class IngestProgress:
    """A bar on stderr with items, rate, remaining time and what was left out. A context manager."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[items]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[errors]}"),
            console=console,
        )
        self._task = self._bar.add_task("reading", total=None, items="", rate="", errors="")
        self._seen: deque[tuple[float, int]] = deque()
        self._drawn_at = -EVERY_S

    def begin(self, total: int) -> None:
        """Start at nothing of ``total`` units of the source."""
        self._seen.clear()
        self._bar.reset(self._task, total=max(total, 1), description="ingesting", items="", rate="", errors="")

    def report(self, position: int, tally: Tally) -> None:
        """Draw how far it is; called for every item, so it draws only now and then."""
        now = self._clock()
        if now - self._drawn_at >= EVERY_S:
            self._draw(now, position, tally)

    def end(self, tally: Tally) -> None:
        """Draw what it came to."""
        total = self._bar.tasks[0].total or 1
        self._draw(self._clock(), int(total), tally)

    def _draw(self, now: float, position: int, tally: Tally) -> None:
        self._drawn_at = now
        self._seen.append((now, tally.done))
        while now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        began, done = self._seen[0]
        rate = (tally.done - done) / (now - began) if now > began else 0.0
        self._bar.update(
            self._task,
            completed=position,
            items=f"{tally.done:,} items",
            rate=f"{rate:,.0f}/s" if rate else "",
            errors=f"[red]{tally.rejected:,} left out" if tally.rejected else "",
        )

    def pause(self) -> None:
        """Leave the terminal to a question."""
        self._bar.stop()

    def resume(self) -> None:
        """Go on drawing."""
        self._bar.start()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def sentence(outcome: Outcome, *, dry: bool = False) -> str:
    """Say what a pass did."""
    tally = outcome.tally
    updated = f"{tally.updated:,} updated"
    if tally.updated_metadata:
        updated += f" ({tally.updated_metadata:,} of them in their metadata alone)"
    parts = [f"{tally.created:,} items added", updated, f"{tally.unchanged:,} unchanged"]
    if tally.removed:
        parts.append(f"{tally.removed:,} removed")
    return ("Would be: " if dry else "") + ", ".join(parts) + "."


def left_out(rejects: Rejects) -> str:
    """Say what was left out, most frequent reason first, and where it is listed; empty where nothing was."""
    if not rejects.total:
        return ""
    counts = ", ".join(f"{count:,} {reason}" for reason, count in rejects.counts.most_common())
    return f"Left out: {counts}; listed in {rejects.path}."
