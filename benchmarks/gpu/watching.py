"""What a run takes of the machine: processor time by part of the server, the GPU's time, and what crosses to it."""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Final, Self

from benchmarks.harness.process import cpu_s
from clipsearch.cli.scrape import Window, scrape

CPU: Final = "clipsearch_cpu_seconds_total"
STAGE: Final = "clipsearch_stage_seconds"
BATCH: Final = "clipsearch_batch_items"
SAMPLE_S: Final = 0.1
SETTLED_S: Final = 0.5
"""The event loop notes its processor time four times a second."""

FRONTS, DECODERS, ALL = "fronts", "decoders", "all"


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is of each thing that may give way first: cores, front processes, and processes that decode."""

    cores: int
    fronts: int
    decoders: int


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of what it can do one part of the path did, 1.0 being all of it."""

    part: str
    share: float


def limits(machine: Machine, parts: Mapping[str, float], others: Mapping[str, float]) -> list[Limit]:
    """Return how near each part is to its limit, the nearest first.

    ``parts`` are cores used by part of the server (``clipsearch_cpu_seconds_total``), ``others`` shares that are known
    as such: the GPU's time, a generator's core. The event loop and the workers of lanes take turns in one interpreter,
    so together they have about one core; what workers do outside of it counts as well, so that share may pass 1.
    """
    together = sum(used for part, used in parts.items() if part not in (FRONTS, DECODERS, ALL))
    found = {
        "interpreter: event loop and lanes": together,
        "decoders": parts.get(DECODERS, 0.0) / max(machine.decoders, 1),
        "all cores": parts.get(ALL, 0.0) / machine.cores,
        **others,
    }
    if machine.fronts:
        found["fronts"] = parts.get(FRONTS, 0.0) / machine.fronts
    return sorted((Limit(part, round(share, 3)) for part, share in found.items()), key=lambda one: -one.share)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a watch saw, all of it added up but for means: of a stage's time by item, and of a batch's items by lane.

    ``cpu_s`` is by part of the server, "all" of its processes among them. ``gpu_busy_s`` and ``to_gpu_bytes`` are None
    where no GPU can be seen.
    """

    cpu_s: dict[str, float]
    stages_ms: dict[str, float]
    batch_items: dict[str, float]
    gpu_busy_s: float | None
    to_gpu_bytes: float | None


class Watch:
    """Looks at a server, and at the first GPU, from entering to leaving; what it saw is ``seen`` then."""

    seen: Seen

    def __init__(self, metrics: str, pid: int) -> None:
        """Watch the server whose metrics are at an address and whose first process has this number."""
        self._metrics, self._pid = metrics, pid
        self._gpu = Gpu()

    def __enter__(self) -> Self:
        self._before, self._cpu_s = scrape(self._metrics), cpu_s(self._pid)
        self._gpu.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gpu.stop()
        if kind is not None:
            return
        time.sleep(SETTLED_S)
        before, after = self._before, scrape(self._metrics)
        window = Window(before, after)
        parts = {part: after.total(CPU, part=part) - before.total(CPU, part=part) for part in after.labels(CPU, "part")}
        stages = {one: window.mean(STAGE, stage=one) for one in after.labels(f"{STAGE}_count", "stage")}
        items = {one: window.mean(BATCH, lane=one) for one in after.labels(f"{BATCH}_count", "lane")}
        self.seen = Seen(
            {**parts, ALL: cpu_s(self._pid) - self._cpu_s},
            {stage: round(1e3 * mean, 4) for stage, mean in stages.items() if mean is not None},
            {lane: round(mean, 2) for lane, mean in items.items() if mean is not None},
            self._gpu.busy_s,
            self._gpu.bytes_in,
        )


class Gpu:
    """The first GPU by NVIDIA's management library, ten times a second: how much of the time a kernel ran, and PCIe."""

    def __init__(self) -> None:
        """Find it; where there is none, nothing is ever seen."""
        self._nvml, self._handle = _first_gpu()
        self._began = self._seconds = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._busy: list[float] = []
        self._bytes_s: list[float] = []

    def start(self) -> None:
        """Look from now on."""
        self._began = time.monotonic()
        if self._nvml is not None:
            self._thread = threading.Thread(target=self._look, args=(self._nvml,), name="gpu-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._seconds = time.monotonic() - self._began

    @property
    def name(self) -> str | None:
        """What it is called; None where there is none."""
        return None if self._nvml is None else str(self._nvml.nvmlDeviceGetName(self._handle))

    @property
    def busy_s(self) -> float | None:
        """For how long at least one kernel ran; None where there is no GPU to see."""
        return self._whole(self._busy)

    @property
    def bytes_in(self) -> float | None:
        """What came in over PCIe; None where that cannot be seen."""
        return self._whole(self._bytes_s)

    def _whole(self, rates: Sequence[float]) -> float | None:
        return self._seconds * sum(rates) / len(rates) if rates else None

    def _look(self, nvml: ModuleType) -> None:
        while not self._ended.wait(SAMPLE_S):
            self._busy.append(nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100)
            # Counted over 20 ms each time; not every card counts at all.
            with suppress(nvml.NVMLError):
                kib_s = nvml.nvmlDeviceGetPcieThroughput(self._handle, nvml.NVML_PCIE_UTIL_RX_BYTES)
                self._bytes_s.append(1024.0 * kib_s)


def _first_gpu() -> tuple[ModuleType | None, Any]:
    try:
        import pynvml
    except ModuleNotFoundError:
        return None, None
    try:
        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
    except pynvml.NVMLError:
        return None, None
