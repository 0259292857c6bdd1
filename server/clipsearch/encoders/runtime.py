"""ONNX Runtime: the one place that imports it, chooses a device and sets its threads."""

import importlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clipsearch.cuda import why_no_gpu
from clipsearch.encoders import cores
from clipsearch.encoders.manifest import Manifest, Precision
from clipsearch.encoders.packing import KEPT, every_place, packing
from clipsearch.encoders.processor import multiplies_bytes
from clipsearch.errors import ComputeFailed, DeviceUnavailable, OutOfMemory, UnusableBundle
from clipsearch.ports import Vectors

Device = Literal["auto", "cpu", "cuda"]
DEVICES: Final[tuple[Device, ...]] = get_args(Device)

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

WHOLE_SUMS: Final = ("session.x64quantprecision", "1")
"""An option of sessions for int8 bundles of before format version 3. Without VNNI, AVX2 adds products of 8 bits by twos
in 16, and cuts off what is too large: such towers then give other vectors than elsewhere. With it, weights are
unsigned, which fits and takes more time. VNNI cuts nothing off, and would be given up for it (decision 14)."""

_OUT_OF_MEMORY: Final = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
    "out of memory",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED
    "not enough memory",
)
"""What the messages hold, in lower case, of C++, ONNX Runtime's arenas, CUDA, cuBLAS and cuDNN."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TensorRt:
    """Where TensorRT's engines are kept, and the most texts and pictures that a batch may have, padding included."""

    engines: Path
    texts: int
    pictures: int


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How sessions run.

    ``threads`` is the number of threads one run computes with, the caller's own included; 0 is one per physical core.
    On a CPU, one thread and as many concurrent callers as cores give half as much again as one caller with all threads
    (figures in docs/decisions/0003), but a run that has the machine to itself then leaves cores idle: ``lone_threads``,
    where larger, is what such a run gets. It takes a second session, so the weights are in memory twice.
    ``gpu_memory`` bounds what a tower takes of a GPU for weights and batches, in bytes; 0 does not. With ``tensorrt`` a
    tower on a GPU is run by TensorRT.
    """

    device: Device = "auto"
    threads: int = 0
    lone_threads: int = 0
    gpu_memory: int = 0
    tensorrt: TensorRt | None = None

    @property
    def narrow_and_wide(self) -> bool:
        """Whether runs side by side and runs alone are to have different numbers of threads."""
        return 0 < self.threads < self.lone_threads


def onnxruntime() -> ModuleType:
    """Import ONNX Runtime with its telemetry off: from 1.29 on it phones home unless told so before the import."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    return importlib.import_module("onnxruntime")


def resolve_device(device: Device, precision: Precision) -> Literal["cpu", "cuda"]:
    """Turn ``auto`` into a device; refuse what cannot be.

    Raises DeviceUnavailable: for an unknown name, where ONNX Runtime has no CUDA or CUDA no GPU, and for an int8 bundle
    on CUDA, whose operators would run on the CPU one by one without anybody noticing.
    """
    if device not in DEVICES:
        raise DeviceUnavailable(f"Device {device!r} is none of {', '.join(DEVICES)}.")
    if device == "cpu":
        return "cpu"
    has_cuda = CUDA in onnxruntime().get_available_providers()
    if device == "auto":
        return "cuda" if precision != "int8" and has_cuda and why_no_gpu() is None else "cpu"
    if precision == "int8":
        raise DeviceUnavailable("An int8 bundle is made for the CPU; export it as fp16 to serve it on cuda.")
    if not has_cuda:
        raise DeviceUnavailable(
            "Device cuda was asked for, and the installed ONNX Runtime has no CUDA (onnxruntime-gpu does)."
        )
    if (reason := why_no_gpu()) is not None:
        raise DeviceUnavailable(f"Device cuda was asked for, and there is no GPU to compute on: {reason}.")
    return "cuda"


Fill = Callable[[NDArray[Any]], None]
"""Writes a batch into a buffer: its first rows are the batch's, and any more are ignored. Rows may be longer too."""


class Graph(Protocol):
    """One loaded ONNX graph of one output, and of one input but for what ``packing`` adds to a text graph."""

    packs: bool
    """Whether padding is left out of a batch of texts, and what they begin with computed once."""

    def run(self, shape: tuple[int, ...], fill: Fill, lengths: Sequence[int] | None = None) -> Vectors:
        """Run one batch of ``shape`` [n, ...]; returns float32 [n, dimension].

        ``lengths`` of texts tell what of each is not padding; without them all of it is computed. Raises ComputeFailed,
        and of its kinds OutOfMemory, with ONNX Runtime's error as its cause.
        """
        ...


class CpuGraph:
    """One loaded ONNX graph on the CPU; see Graph."""

    def __init__(self, path: Path, threads: int, *, spin: bool = False, whole_sums: bool = False) -> None:
        """Load a graph; ``threads`` as in RuntimeOptions.

        With ``spin`` the threads of a run wait for its next operator without sleeping, until the run ends, and share no
        CPU. ``whole_sums`` is for a manifest whose ``pairs_overflow``. Raises UnusableBundle where the graph cannot be
        loaded.
        """
        self._cpus, *helpers = cores.dealt(threads) if spin else [[]]
        self._session = open_session(path, {CPU: {}}, threads, spin=spin, helpers=helpers, whole_sums=whole_sums)
        source = self._session.get_inputs()[0]
        self._input = source.name
        self._dtype: DTypeLike = np.uint8 if source.type == "tensor(uint8)" else np.int64
        self._outputs = [self._session.get_outputs()[0].name]
        self.packs = any(one.name == KEPT for one in self._session.get_inputs())
        logger.info("loaded %s on cpu with %d threads", path.name, threads)

    def run(self, shape: tuple[int, ...], fill: Fill, lengths: Sequence[int] | None = None) -> Vectors:
        """See Graph."""
        values = np.empty(shape, dtype=self._dtype)
        fill(values)
        places: dict[str, NDArray[np.int64]] = {}
        if self.packs:
            places = every_place(*shape) if lengths is None else packing(values, lengths)
        try:
            with cores.kept_to(self._cpus):
                vectors: Vectors = self._session.run(self._outputs, {self._input: values, **places})[0]
        except Exception as exc:  # ONNX Runtime's own exceptions share no base but Exception
            raise encoder_failure(exc, shape[0]) from exc
        return vectors


def open_session(
    path: Path,
    providers: Mapping[str, Mapping[str, str]],
    threads: int,
    *,
    spin: bool = False,
    helpers: Sequence[Sequence[int]] = (),
    whole_sums: bool = False,
    record_placement: bool = False,
) -> Any:
    """Load a graph on the providers given, the first that can take a node, as an ``InferenceSession``.

    ``providers`` are names and their options. No other is gone to, but for the CPU with what none of them can take.
    ``helpers`` are the CPUs of each thread beside the caller's; without them that is up to the system.
    ``whole_sums`` is WHOLE_SUMS; ``record_placement`` keeps which provider each node went to. Raises UnusableBundle
    where the graph cannot be loaded and DeviceUnavailable where CUDA cannot.
    """
    ort = onnxruntime()
    if CUDA in providers:
        ort.preload_dlls()  # finds CUDA and cuDNN where pip put them, and goes on where it can't
    options = _session_options(ort, threads, spin=spin)
    if helpers:  # ONNX Runtime counts CPUs from one
        places = ";".join(",".join(str(cpu + 1) for cpu in cpus) for cpus in helpers)
        options.add_session_config_entry("session.intra_op_thread_affinities", places)
    if whole_sums:
        options.add_session_config_entry(*WHOLE_SUMS)
    if record_placement:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = ort.InferenceSession(
            str(path), options, providers=[(name, dict(given)) for name, given in providers.items()]
        )
    except Exception as exc:  # ONNX Runtime's own exceptions share no base but Exception
        if CUDA in providers and "CUDA" in str(exc):
            raise DeviceUnavailable(f"CUDA cannot be used: {_first_line(exc)}.") from exc
        raise UnusableBundle(f"{path} cannot be loaded by ONNX Runtime: {_first_line(exc)}.") from exc
    session.disable_fallback()
    actual = session.get_providers()
    if missing := [name for name in providers if name not in actual]:
        # With a log line and no error ONNX Runtime takes the CPU when CUDA's libraries don't load.
        raise DeviceUnavailable(f"{missing[0]} was asked for, and ONNX Runtime has only {', '.join(actual)}.")
    return session


def encoder_failure(error: Exception, rows: int) -> ComputeFailed:
    """Return what to raise for an error of a run of ``rows`` items."""
    if is_out_of_memory(error):
        return OutOfMemory(f"the encoder found no memory for a batch of {rows}")
    return ComputeFailed("The encoder failed on this batch.")


@dataclass(frozen=True, slots=True)
class Usage:
    """How often a tower ran since it was loaded, and for how many seconds, added up over runs side by side."""

    runs: int
    seconds: float


class PooledGraph:
    """One graph, narrow for runs side by side and wide for a run that is alone; safe from several threads."""

    def __init__(self, narrow: Graph, wide: Graph) -> None:
        """Take the same graph in two sessions, or one session twice."""
        self._narrow, self._wide = narrow, wide
        self.packs = narrow.packs
        self._running = 0
        self._count = threading.Lock()
        self._usage = Usage(0, 0.0)

    @classmethod
    def load(cls, path: Path, manifest: Manifest, options: RuntimeOptions) -> "PooledGraph":
        """Load a bundle's graph once, or twice where the options ask for it on a CPU.

        Raises as Graph does, and DeviceUnavailable as ``resolve_device`` does.
        """
        if resolve_device(options.device, manifest.precision) == "cuda":
            from clipsearch.encoders.cuda import CudaGraph

            engines = None
            if options.tensorrt is not None:
                from clipsearch.encoders.tensorrt import check_available, provider_options

                engines = provider_options(path, manifest, options.tensorrt, check_available())
            graph = CudaGraph(path, options.gpu_memory, context_length=manifest.context_length, engines=engines)
            return cls(graph, graph)
        load = partial(CpuGraph, path, whole_sums=manifest.pairs_overflow and not multiplies_bytes())
        narrow = load(options.threads)
        return cls(narrow, load(options.lone_threads, spin=True) if options.narrow_and_wide else narrow)

    @property
    def sessions(self) -> list[Graph]:
        """What there is to warm up."""
        return [self._narrow] if self._wide is self._narrow else [self._narrow, self._wide]

    @property
    def usage(self) -> Usage:
        """Runs of batches so far, those of the warm-up not among them."""
        return self._usage

    def run(self, shape: tuple[int, ...], fill: Fill, lengths: Sequence[int] | None = None) -> Vectors:
        """Run one batch on whatever suits the moment; arguments and errors are Graph's."""
        with self._count:
            graph = self._narrow if self._running else self._wide
            self._running += 1
        started = time.monotonic()
        try:
            return graph.run(shape, fill, lengths)
        finally:
            ran_s = time.monotonic() - started
            with self._count:
                self._running -= 1
                self._usage = Usage(self._usage.runs + 1, self._usage.seconds + ran_s)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a run failed for want of memory, the machine's or the device's; ONNX Runtime says so in words alone."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)


def _session_options(ort: ModuleType, threads: int, *, spin: bool) -> Any:
    session_options = ort.SessionOptions()
    session_options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session_options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    session_options.intra_op_num_threads = threads
    session_options.inter_op_num_threads = 1
    # A memory plan is kept for every input shape seen, and text batches come in thousands of shapes.
    session_options.enable_mem_pattern = False
    # Spinning threads burn their core between operators, and take it from everything else in the process; a run that is
    # alone may have it, but not keep it after its end.
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    session_options.add_session_config_entry("session.force_spinning_stop", "1")
    session_options.log_severity_level = 3
    return session_options


def _first_line(exc: Exception) -> str:
    return str(exc).strip().splitlines()[0].rstrip(".") if str(exc).strip() else type(exc).__name__
