"""FAISS's classes for GPUs, over its own for the CPU."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import faiss as installed
import numpy as np

from tests.numpy_gpu.arrays import GPUS, current
from tests.numpy_gpu.cupy import at

F16 = 1


class Fields:
    """A structure of options: none is taken that is not there, as a misspelt one would be without anybody noticing."""

    _fields: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self) -> None:
        for name, value in self._fields.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        assert name in self._fields, f"{type(self).__name__} has no {name}"
        object.__setattr__(self, name, value)


class GpuClonerOptions(Fields):
    """See FAISS."""

    _fields = MappingProxyType({
        "useFloat16": False, "useFloat16CoarseQuantizer": False, "usePrecomputed": False, "storeTransposed": False,
        "use_cuvs": False, "allowCpuCoarseQuantizer": False, "verbose": False,
    })  # fmt: skip


class GpuIndexConfig(Fields):
    """See FAISS."""

    _fields = MappingProxyType({"device": 0, "use_cuvs": False})


class GpuIndexFlatConfig(Fields):
    """See FAISS."""

    _fields = MappingProxyType({"device": 0, "use_cuvs": False, "useFloat16": False, "storeTransposed": False})


class GpuDistanceParams(Fields):
    """See FAISS."""

    _fields = MappingProxyType({
        "metric": installed.METRIC_L2, "metricArg": 0.0, "k": 0, "dims": 0, "device": -1, "use_cuvs": False,
        "vectors": None, "vectorType": 0, "vectorsRowMajor": True, "numVectors": 0, "vectorNorms": None,
        "queries": None, "queryType": 0, "queriesRowMajor": True, "numQueries": 0, "ignoreOutDistances": False,
        "outDistances": None, "outIndices": None, "outIndicesType": 1,
    })  # fmt: skip


class StandardGpuResources:
    """Scratch memory and streams."""

    def __init__(self) -> None:
        self.streams: dict[int, object] = {}

    def setTempMemory(self, size: int) -> None:
        """See FAISS."""
        assert size > 0

    def setDefaultStream(self, number: int, stream: object) -> None:
        """See FAISS."""
        self.streams[number] = stream


class _Copied:
    """An inverted file on a GPU. Addresses of the host and of a GPU are the same here, so the CPU's search does."""

    def __init__(self, ivf: Any, number: int) -> None:
        self._ivf, self._number = installed.clone_index(ivf), number
        self.nlist = self._ivf.nlist

    def search_c(self, *given: Any) -> None:
        """See FAISS."""
        assert current() == self._number, "searched on another GPU"
        self._ivf.search_c(*given)


def index_cpu_to_gpu(resources: StandardGpuResources, number: int, ivf: Any, options: GpuClonerOptions) -> _Copied:
    """See FAISS."""
    assert isinstance(options, GpuClonerOptions) and number in resources.streams
    return _Copied(ivf, number)


def flat_on_gpu(resources: StandardGpuResources, dimension: int, config: GpuIndexFlatConfig) -> Any:
    """See FAISS's GpuIndexFlatIP."""
    assert isinstance(resources, StandardGpuResources) and isinstance(config, GpuIndexFlatConfig)
    return installed.IndexFlatIP(dimension)


def nearest(resources: StandardGpuResources, wanted: GpuDistanceParams) -> None:
    """See FAISS's bfKnn, for products of float16; distances are left alone."""
    assert wanted.device == current() and wanted.device in resources.streams
    assert (wanted.metric, wanted.vectorType, wanted.queryType) == (installed.METRIC_INNER_PRODUCT, F16, F16)
    n, size, k = wanted.numQueries, wanted.numVectors, wanted.k
    assert 0 < k <= size
    vectors, queries = (
        at(pointer, (count, wanted.dims), np.float16).astype(np.float32)
        for pointer, count in ((wanted.vectors, size), (wanted.queries, n))
    )
    at(wanted.outIndices, (n, k), np.int64)[...] = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]


def install() -> None:
    """Give the FAISS that is installed its part for GPUs."""
    parts = {
        "DistanceDataType_F16": F16,
        "GpuClonerOptions": GpuClonerOptions,
        "GpuDistanceParams": GpuDistanceParams,
        "GpuIndexCagra": object,
        "GpuIndexConfig": GpuIndexConfig,
        "GpuIndexFlatConfig": GpuIndexFlatConfig,
        "GpuIndexFlatIP": flat_on_gpu,
        "StandardGpuResources": StandardGpuResources,
        "bfKnn": nearest,
        "cast_integer_to_cudastream_t": lambda pointer: pointer,
        "cast_integer_to_void_ptr": lambda pointer: pointer,
        "get_num_gpus": lambda: GPUS,
        "index_cpu_to_gpu": index_cpu_to_gpu,
        "should_use_cuvs": lambda config: True,
    }
    for name, part in parts.items():
        setattr(installed, name, part)
