"""Brings what every process measures to one place, and tells whether the server or the generator was measured."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.load.options import Options
from benchmarks.load.recorder import UNSENT, Recorder

BUSY_CORES: Final = 0.9
"""Of one process; more of Python than this and calls wait for the generator."""

BOUND_STATUS: Final = 3
"""Exit status of a run that measured its generator."""

_KEY: Final = "clipsearch"


@dataclass(slots=True)
class Measuring:
    """Of one process: its own recorder, and where it is the master or alone, what all have measured."""

    options: Options
    own: Recorder = field(init=False)
    all: Recorder = field(init=False)
    cores: dict[str, float] = field(default_factory=dict)
    """CPU that each generator used while it measured, in cores, by its name."""
    _began: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        self.own, self.all = Recorder(self.options.window_s), Recorder(self.options.window_s)
        self.begin()

    def begin(self, **_: object) -> None:
        """Forget what was measured: a test begins."""
        self.own.taken()
        self.all.taken()
        self.cores.clear()
        self._began = time.monotonic(), time.process_time()

    def report(self, client_id: str, data: dict[str, Any]) -> None:
        """Put what was measured into a worker's message to its master."""
        data[_KEY] = {"recorded": self.own.taken(), "cores": self._used()}

    def take(self, client_id: str, data: Mapping[str, Any]) -> None:
        """Take it out of a worker's message."""
        if _KEY in data:
            self.all.add(Recorder.of(data[_KEY]["recorded"]))
            self.cores[client_id] = data[_KEY]["cores"]

    def _used(self) -> float:
        wall_s, cpu_s = (
            now - then for now, then in zip((time.monotonic(), time.process_time()), self._began, strict=True)
        )
        return cpu_s / max(wall_s, 1e-9)

    def finish(self, alone: bool) -> list[str]:
        """Write the record where one was asked for; returns why the run says nothing about the server, if so."""
        if alone:
            self.cores["local"] = self._used()
            self.all.add(Recorder.of(self.own.taken()))
        bound = self.bound()
        if self.options.record:
            document = {"cores": self.cores, "generator_bound": bound, **self.all.taken()}
            Path(self.options.record).write_text(json.dumps(document), encoding="utf-8")
        return bound

    def bound(self) -> list[str]:
        """Return the signs that the generator was the bottleneck; none where the server was measured."""
        signs = []
        lag_ms = self.all.lags.get_value_at_percentile(99.0) / 1e3
        if lag_ms > self.options.most_lag_ms:
            signs.append(f"1 in 100 calls was sent {lag_ms:.1f} ms or more after it was due")
        busy = {name: cores for name, cores in self.cores.items() if cores > BUSY_CORES}
        signs += [f"the generator {name} used {cores:.2f} of a core" for name, cores in busy.items()]
        unsent = sum(window.errors[UNSENT, ""] for window in self.all.windows.values())
        if unsent:
            signs.append(f"{unsent} calls were not sent, since their users had {self.options.in_flight} in flight")
        return signs
