"""Memory of the GPUs, from NVIDIA's management library: it sees what ONNX Runtime and FAISS took, and everybody else.

ONNX Runtime does not tell how much its arena holds, and CUDA's own figure needs a context in every process that asks.
"""

import logging
from collections.abc import Iterator

logger = logging.getLogger(__name__)


class DeviceMemory:
    """The GPUs that this process can see. Used by one thread at a time."""

    def __init__(self) -> None:
        """Load the library; without it, or without a driver, there is nothing to read, and the log says so once."""
        self._handles: list[object] = []
        try:
            import pynvml
        except ModuleNotFoundError:
            logger.warning("no figures of GPU memory: nvidia-ml-py, of the gpu extra, is not installed")
            return
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            logger.warning("no figures of GPU memory: %s", error)

    def read(self) -> Iterator[tuple[tuple[str, str], float]]:
        """Return bytes by device number and ``used`` or ``total``."""
        for i, handle in enumerate(self._handles):
            import pynvml

            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            yield (str(i), "used"), float(memory.used)
            yield (str(i), "total"), float(memory.total)
