"""What was measured: latencies at full resolution, errors by status and reason, stages, and the generator's own state.

Locust rounds response times to two digits for its page; here they go into HdrHistograms, which keep three digits from
a microsecond to minutes and add up across workers without loss. A record is of a window of a second or two, so that a
run can be looked at over time and two runs can be told apart beyond their noise.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hdrh.histogram import HdrHistogram

LOWEST_US, HIGHEST_US, DIGITS = 1, 600_000_000, 3
STAGES = ("preprocess_us", "queue_us", "encode_us", "search_us", "total_us")
UNSENT = "UNSENT"
"""The status of a call that was due while its user had as many in flight as it may: the server did not answer them."""


def histogram() -> HdrHistogram:
    """Return an empty histogram of microseconds."""
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


@dataclass(slots=True)
class Window:
    """One kind of call in one window of time."""

    latencies: HdrHistogram = field(default_factory=histogram)
    """From when a call was due, of those that were answered OK."""
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By status and reason."""
    stages: dict[str, HdrHistogram] = field(default_factory=dict)
    items: int = 0
    """Embedded, found or written, of calls of several."""

    def add(self, other: "Window") -> None:
        """Take in what another generator measured of the same."""
        self.latencies.add(other.latencies)
        self.errors.update(other.errors)
        self.items += other.items
        for stage, measured in other.stages.items():
            self.stages.setdefault(stage, histogram()).add(measured)


class Recorder:
    """What one process has measured since it was last asked, by window and kind of call."""

    def __init__(self, window_s: float = 1.0) -> None:
        """Windows are of ``window_s`` seconds of the clock that calls are timed with."""
        self.window_s = window_s
        self.windows: dict[tuple[int, str], Window] = {}
        self.lags = histogram()
        """How late calls were sent: the generator's fault, if anybody's."""

    def ok(self, kind: str, due: float, ended: float, stages: Mapping[str, int], items: int = 1) -> None:
        """Note a call that was answered; times in seconds, stages in microseconds."""
        window = self._window(kind, due)
        window.latencies.record_value(_us(ended - due))
        window.items += items
        for stage, took_us in stages.items():
            window.stages.setdefault(stage, histogram()).record_value(max(LOWEST_US, took_us))

    def failed(self, kind: str, due: float, status: str, reason: str) -> None:
        """Note a call that ended with another status, or was not sent."""
        self._window(kind, due).errors[status, reason] += 1

    def sent(self, due: float, at: float) -> None:
        """Note when a call was sent that was due."""
        self.lags.record_value(_us(at - due))

    def _window(self, kind: str, due: float) -> Window:
        key = int(due / self.window_s), kind
        found = self.windows.get(key)
        if found is None:
            found = self.windows[key] = Window()
        return found

    def add(self, other: "Recorder") -> None:
        """Take in what another process measured."""
        self.lags.add(other.lags)
        for key, window in other.windows.items():
            mine = self.windows.get(key)
            if mine is None:
                mine = self.windows[key] = Window()
            mine.add(window)

    def taken(self) -> dict[str, Any]:
        """Return all of it in plain values for a message, and begin anew."""
        message = {
            "window_s": self.window_s,
            "lags": _packed(self.lags),
            "windows": [
                {
                    "number": number,
                    "kind": kind,
                    "latencies": _packed(one.latencies),
                    "errors": [[*names, count] for names, count in one.errors.items()],
                    "stages": {stage: _packed(measured) for stage, measured in one.stages.items()},
                    "items": one.items,
                }
                for (number, kind), one in self.windows.items()
            ],
        }
        self.windows, self.lags = {}, histogram()
        return message

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "Recorder":
        """Return what ``taken`` made a message of."""
        recorder = cls(message["window_s"])
        recorder.lags = _unpacked(message["lags"])
        for one in message["windows"]:
            window = Window(
                _unpacked(one["latencies"]),
                Counter({(status, reason): count for status, reason, count in one["errors"]}),
                {stage: _unpacked(measured) for stage, measured in one["stages"].items()},
                one["items"],
            )
            recorder.windows[one["number"], one["kind"]] = window
        return recorder


def merged(windows: Iterable[Window]) -> Window:
    """Return all of some windows as one."""
    whole = Window()
    for window in windows:
        whole.add(window)
    return whole


def _us(seconds: float) -> int:
    return min(HIGHEST_US, max(LOWEST_US, round(1e6 * seconds)))


def _packed(measured: HdrHistogram) -> str:
    text: bytes = measured.encode()
    return text.decode("ascii")


def _unpacked(text: str) -> HdrHistogram:
    return HdrHistogram.decode(text.encode("ascii"))
