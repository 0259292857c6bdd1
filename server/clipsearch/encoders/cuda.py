"""A tower on a GPU: pinned staging, device buffers, one stream, and launches that are captured once and replayed.

A batch goes up, through the graph and back down in one sequence on the tower's own stream, and the caller waits once.
Two slots of buffers let the next batch be staged while the one before computes. Sequences of small batches are captured
as CUDA graphs: some 150 kernels of a few microseconds each cost more to launch than to run.
"""

import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clipsearch.cuda import HandedVectors, Room, import_cupy, pinned
from clipsearch.encoders.manifest import SHAPE_NODE
from clipsearch.encoders.packing import KEPT, every_place
from clipsearch.encoders.runtime import CUDA, TENSORRT, Fill, encoder_failure, onnxruntime, open_session
from clipsearch.errors import UnusableBundle
from clipsearch.ports import Vectors

SLOTS: Final = 2
CAPTURED_ROWS: Final = 64
"""Largest batch that is padded to a size whose launch was captured; above, the launches hide behind the computing."""

_SIZES: Final = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
_LENGTHS: Final = (8, 16, 24, 32, 48, 64)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Bound:
    """One input shape of one slot: views of its buffers, and the sequence over them once it is captured."""

    staged: NDArray[Any]
    taken: Vectors
    source: Any
    result: Any
    binding: Any
    places: tuple[Any, ...]
    """What a packed graph is bound to besides: every place is kept, so that batches of a size are alike."""
    captured: Any = None


class _Slot:
    """Staging and device buffers for one batch in flight; used by one thread at a time."""

    def __init__(self, cupy: ModuleType, capacity: int, width: int) -> None:
        """Take room for ``capacity`` bytes of input and as many rows as fit at the least, ``width`` floats each."""
        self.staged = pinned(cupy, capacity, np.uint8)
        self.source = cupy.empty(capacity, dtype=np.uint8)
        self.rows = 0
        self.taken: Vectors = np.empty((0, width), dtype=np.float32)
        self.result: Any = None
        self.bound: dict[tuple[int, ...], _Bound] = {}
        self.done = cupy.cuda.Event(block=True, disable_timing=True)


class CudaGraph:
    """One loaded ONNX graph, resident on the first GPU; see ``runtime.Graph``. For any number of threads."""

    packs = False

    def __init__(
        self,
        path: Path,
        memory_limit: int = 0,
        *,
        context_length: int | None = None,
        capture: bool = True,
        engines: Mapping[str, str] | None = None,
    ) -> None:
        """Load a graph; ``memory_limit`` bytes bound ONNX Runtime's arena, weights included, 0 does not.

        Texts have ``context_length`` tokens at most, and are padded to no more. With ``engines``, TensorRT's options,
        it is run by TensorRT, whose launches are few and are not captured.

        Raises UnusableBundle where the graph cannot be loaded or a node of it would run on the CPU, and
        DeviceUnavailable where there is no CUDA or too little memory for the weights.
        """
        self._cupy = import_cupy()
        Room.now(self._cupy).less(path.name, {"weights": weight_bytes(path)})
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        settings = {
            "user_compute_stream": str(self._stream.ptr),
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": "HEURISTIC",
            "use_tf32": "0",
            # ONNX Runtime never captures here (see _options), but keeps to what may be captured.
            "enable_cuda_graph": "1",
        }
        providers: dict[str, Mapping[str, str]] = {CUDA: settings}
        if memory_limit:
            settings["gpu_mem_limit"] = str(memory_limit)
        if engines is not None:
            own = {"user_compute_stream": settings["user_compute_stream"]}
            if memory_limit:
                own["trt_max_workspace_size"] = str(memory_limit)
            providers = {TENSORRT: {**engines, **own}, **providers}
        self._session = open_session(path, providers, threads=1, record_placement=True)
        check_placement(self._session, path)
        source, result = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self._names = source.name, result.name
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._dtype: DTypeLike = np.uint8 if source.type == "tensor(uint8)" else np.int64
        self._width = int(result.shape[-1])
        self._longest = context_length
        self._capture = capture and engines is None
        self._launching = threading.Lock()
        self._options = self._run_options()
        self._slots: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for _ in range(SLOTS):
            self._slots.put(_Slot(self._cupy, 0, self._width))
        logger.info("loaded %s on cuda", path.name)

    def run(self, shape: tuple[int, ...], fill: Fill, lengths: Sequence[int] | None = None) -> Vectors:
        """Run one batch of ``shape`` [n, ...] that ``fill`` writes into a buffer of at least that shape.

        Returns float32 [n, dimension], handed over to whatever searches with them on this GPU; padding is computed
        whatever ``lengths`` say. Raises ComputeFailed, and of its kinds OutOfMemory.
        """
        del lengths
        padded = self._padded(shape)
        slot = self._slots.get()
        try:
            bound = self._bound(slot, padded)
            fill(bound.staged)
            with self._launching, self._stream:
                self._enqueue(bound)
                handed = self._kept(bound, shape[0])
                slot.done.record(self._stream)
            slot.done.synchronize()
            return HandedVectors.of(bound.taken[: shape[0]].copy(), handed)
        except Exception as exc:  # ONNX Runtime's and CUDA's own exceptions share no base but Exception
            raise encoder_failure(exc, shape[0]) from exc
        finally:
            self._slots.put(slot)

    def _padded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        rows, item = shape[0], shape[1:]
        if len(item) == 1:
            item = (padded_length(item[0], self._longest),)
        return (padded_rows(rows), *item)

    def _bound(self, slot: _Slot, shape: tuple[int, ...]) -> _Bound:
        found = slot.bound.get(shape)
        if found is not None:
            return found
        size = prod(shape) * np.dtype(self._dtype).itemsize
        if size > len(slot.staged) or shape[0] > slot.rows:
            self._grow(slot, size, shape[0])
        staged = slot.staged[:size].view(self._dtype).reshape(shape)
        staged.fill(0)
        source, result = slot.source[:size], slot.result[: shape[0]]
        binding = self._session.io_binding()
        binding.bind_input(self._names[0], "cuda", 0, self._dtype, shape, source.data.ptr)
        binding.bind_output(self._names[1], "cuda", 0, np.float32, (shape[0], self._width), result.data.ptr)
        places = tuple(self._bind_places(binding, shape))
        bound = _Bound(staged, slot.taken[: shape[0]], source, result, binding, places)
        slot.bound[shape] = bound
        return bound

    def _bind_places(self, binding: Any, shape: tuple[int, ...]) -> Iterator[Any]:
        if KEPT not in self._inputs:
            return
        for name, values in every_place(*shape).items():
            with self._stream:  # or the first run might not wait for the copy
                on_device = self._cupy.asarray(values)
            binding.bind_input(name, "cuda", 0, np.int64, values.shape, on_device.data.ptr)
            yield on_device

    def _grow(self, slot: _Slot, size: int, rows: int) -> None:
        """Make room; what was captured knows the old addresses and goes with them."""
        slot.bound.clear()
        if size > len(slot.staged):
            slot.staged = pinned(self._cupy, size, np.uint8)
            slot.source = self._cupy.empty(size, dtype=np.uint8)
        slot.rows = max(rows, slot.rows)
        slot.taken = pinned(self._cupy, slot.rows * self._width, np.float32).reshape(slot.rows, self._width)
        slot.result = self._cupy.empty((slot.rows, self._width), dtype=np.float32)

    def _enqueue(self, bound: _Bound) -> None:
        if bound.captured is not None:
            bound.captured.launch(self._stream)
            return
        self._issue(bound)
        if not self._capture or len(bound.taken) > CAPTURED_ROWS:
            return
        # After a run of this shape, so that the arena holds what it needs: nothing may be allocated while capturing.
        self._stream.synchronize()
        self._stream.begin_capture(self._cupy.cuda.runtime.streamCaptureModeThreadLocal)
        try:
            self._issue(bound)
        finally:
            captured = self._stream.end_capture()
        bound.captured = captured

    def _issue(self, bound: _Bound) -> None:
        self._copy(bound.source.data.ptr, bound.staged.ctypes.data, bound.staged.nbytes, "memcpyHostToDevice")
        self._session.run_with_iobinding(bound.binding, self._options)
        self._copy(bound.taken.ctypes.data, bound.result.data.ptr, bound.taken.nbytes, "memcpyDeviceToHost")

    def _copy(self, to: int, source: int, size: int, kind: str) -> None:
        # The runtime's own call: CuPy's arrays refuse to copy while a stream is captured.
        runtime = self._cupy.cuda.runtime
        runtime.memcpyAsync(to, source, size, getattr(runtime, kind), self._stream.ptr)

    def _kept(self, bound: _Bound, rows: int) -> Any:
        """Copy the vectors to an array of their own: the slot's next batch overwrites what it has of this one."""
        handed = self._cupy.empty((rows, self._width), dtype=np.float32)
        self._copy(handed.data.ptr, bound.result.data.ptr, handed.nbytes, "memcpyDeviceToDevice")
        return handed

    def _run_options(self) -> Any:
        options = onnxruntime().RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        options.add_run_config_entry("gpu_graph_id", "-1")
        return options


def padded_rows(rows: int) -> int:
    """Return how many items a batch of so many is padded to."""
    if rows <= CAPTURED_ROWS:
        return next(size for size in _SIZES if size >= rows)
    return -(-rows // 16) * 16


def padded_length(tokens: int, longest: int | None) -> int:
    """Return how many places texts of so many tokens are padded to: there are positions for ``longest``, no more."""
    fitting = next((length for length in _LENGTHS if length >= tokens), longest or tokens)
    return fitting if longest is None else min(fitting, longest)


def weight_bytes(path: Path) -> int:
    """Return how large the weights of a graph are: those of the file beside it, or of the graph itself."""
    beside = path.with_suffix(".weights")
    return (beside if beside.exists() else path).stat().st_size


def check_placement(session: Any, path: Path) -> None:
    """Raise UnusableBundle with the names of the nodes that a session left on the CPU, but for those about shapes."""
    left = [
        f"{node.name} ({node.op_type})"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name not in (CUDA, TENSORRT)
        for node in part.get_nodes()
        if not node.name.startswith(SHAPE_NODE)
    ]
    if left:
        raise UnusableBundle(
            f"{path} has nodes that CUDA cannot run: {', '.join(left[:5])}{' …' if len(left) > 5 else ''}; "
            "export it again with this version."
        )
