"""ONNX Runtime's CUDA provider, over the one for the CPU."""

from typing import Any

from clipsearch.encoders import cuda, runtime
from clipsearch.encoders.runtime import CPU, CUDA
from tests.numpy_gpu.streams import launch

_open = runtime.open_session


class Binding:
    """Where a run finds its input and leaves its output: on the first GPU, at addresses that the CPU can use here."""

    def __init__(self, bound: Any) -> None:
        self.bound = bound

    def bind_input(self, name: str, device: str, number: int, *place: Any) -> None:
        """See ONNX Runtime."""
        assert (device, number) == ("cuda", 0)
        self.bound.bind_input(name, "cpu", 0, *place)

    def bind_output(self, name: str, device: str, number: int, *place: Any) -> None:
        """See ONNX Runtime."""
        assert (device, number) == ("cuda", 0)
        self.bound.bind_output(name, "cpu", 0, *place)


class Session:
    """A session whose runs can be captured."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.get_inputs, self.get_outputs, self.run = session.get_inputs, session.get_outputs, session.run

    def io_binding(self) -> Binding:
        """See ONNX Runtime."""
        return Binding(self._session.io_binding())

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        """See ONNX Runtime."""
        assert options.get_run_config_entry("gpu_graph_id") == "-1", "ONNX Runtime would capture by itself"
        launch(lambda: self._session.run_with_iobinding(binding.bound))

    def get_provider_graph_assignment_info(self) -> list[Any]:
        """See ONNX Runtime; nothing was left on the CPU."""
        return []


def _opened(path: Any, providers: Any, threads: int, **options: Any) -> Any:
    if CUDA not in providers:
        return _open(path, providers, threads, **options)
    assert options == {"record_placement": True}
    return Session(_open(path, {CPU: {}}, threads))


def install() -> None:
    """Have sessions for CUDA opened here, and tell everybody that there is such a thing."""
    cuda.open_session = _opened
    runtime.onnxruntime().get_available_providers = lambda: [CUDA, CPU]
