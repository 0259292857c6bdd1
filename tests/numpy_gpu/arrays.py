"""Arrays that lie on a GPU, as far as CuPy's are used."""

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

GPUS = 2


class _Current(threading.local):
    """The current GPU of a thread last, and those before it that it is left for."""

    def __init__(self) -> None:
        self.numbers = [0]


_current = _Current()


def current() -> int:
    """Return the number of the thread's current GPU."""
    return _current.numbers[-1]


class Device:
    """A context in which a GPU is the current one."""

    def __init__(self, number: int) -> None:
        assert 0 <= number < GPUS, f"there is no GPU {number}"
        self.id = number

    def __enter__(self) -> "Device":
        _current.numbers.append(self.id)
        return self

    def __exit__(self, *_: object) -> None:
        _current.numbers.pop()


class DeviceArray:
    """An array on one GPU. The host cannot take it for one of its own, and other GPUs cannot compute with it."""

    def __init__(self, values: NDArray[Any], device: int | None = None) -> None:
        self._values = values
        self.device = Device(current() if device is None else device)

    @property
    def values(self) -> NDArray[Any]:
        """What it holds, for a kernel on its own GPU."""
        assert self.device.id == current(), f"an array of GPU {self.device.id} is used on GPU {current()}"
        return self._values

    def __array__(self, *_: object, **__: object) -> NDArray[Any]:
        raise TypeError("implicit conversion to an array of the host: use asnumpy")

    @property
    def data(self) -> SimpleNamespace:
        """Where it lies."""
        return SimpleNamespace(ptr=self._values.ctypes.data)

    @property
    def shape(self) -> tuple[int, ...]:
        """As numpy's."""
        return self._values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As numpy's."""
        return self._values.dtype

    @property
    def nbytes(self) -> int:
        """As numpy's."""
        return self._values.nbytes

    @property
    def is_contiguous(self) -> bool:
        """Whether rows follow each other in memory, as kernels that get a pointer take them to."""
        return self._values.flags.c_contiguous

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: Any) -> "DeviceArray":
        return DeviceArray(self.values[_on_gpu(key)])

    def __setitem__(self, key: Any, values: Any) -> None:
        self.values[_on_gpu(key)] = _on_gpu(values)

    def __neg__(self) -> "DeviceArray":
        return DeviceArray(-self.values)

    def __ge__(self, other: Any) -> "DeviceArray":
        return DeviceArray(self.values >= _on_gpu(other))

    def astype(self, dtype: DTypeLike) -> "DeviceArray":
        """As CuPy's: a copy."""
        return DeviceArray(self.values.astype(dtype))

    def set(self, values: NDArray[Any]) -> None:
        """Copy from the host: what fits exactly, between contiguous places."""
        assert isinstance(values, np.ndarray)
        assert (values.shape, values.dtype) == (self.shape, self.dtype), "set takes what is alike"
        assert self.is_contiguous, "set takes contiguous places"
        self.values[...] = values


def _on_gpu(operand: Any) -> Any:
    """Return an operand as numpy takes it; refuse one of the host, which CuPy does not take either."""
    if isinstance(operand, DeviceArray):
        return operand.values
    assert not isinstance(operand, np.ndarray), "an array of the host among those of a GPU"
    return operand


def function(name: str) -> Any:
    """Return a function of numpy's as one of CuPy's: its arrays lie on the current GPU."""
    given = getattr(np, name)

    def on_gpu(*operands: Any, **options: Any) -> DeviceArray:
        host = [tuple(map(_on_gpu, one)) if isinstance(one, tuple | list) else _on_gpu(one) for one in operands]
        return DeviceArray(given(*host, **options))

    return on_gpu


def empty(shape: Any, dtype: DTypeLike = np.float64) -> DeviceArray:
    """As CuPy's, but filled with what nobody should read."""
    values = np.empty(shape, dtype)
    values.view(np.uint8).fill(0x7F)
    return DeviceArray(values)


def asarray(values: "ArrayLike | DeviceArray") -> DeviceArray:
    """As CuPy's: a copy of what the host has, or the array itself."""
    if isinstance(values, DeviceArray):
        assert values.device.id == current(), "an array of another GPU"
        return values
    return DeviceArray(np.array(values))


def asnumpy(values: DeviceArray) -> NDArray[Any]:
    """As CuPy's."""
    assert isinstance(values, DeviceArray)
    return np.array(values.values)
