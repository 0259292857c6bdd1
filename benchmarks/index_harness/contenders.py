"""The indexes that are compared: each built from the same vectors, searched at points along its own trade-off."""

import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.clustered_vectors import Clustered
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.flat import FlatIndex
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Kind, choose_m, choose_nlist
from clipsearch.index.storage import open_index
from clipsearch.index.threads import limit_blas

Float32 = NDArray[np.float32]
Point = tuple[float, ...]


class Contender(ABC):
    """One index. ``points`` are settings from fast to thorough, named by ``point_names``."""

    name: str
    point_names: tuple[str, ...] = ()
    points: Sequence[Point] = ((),)
    build_s = 0.0
    bytes_per_item = 0.0
    """Beside the vectors themselves."""

    def __init__(self, base: Float32, data: Clustered, threads: int, seed: int) -> None:
        began = time.perf_counter()
        self.build(base, data, threads, seed)
        self.build_s = time.perf_counter() - began

    @abstractmethod
    def build(self, base: Float32, data: Clustered, threads: int, seed: int) -> None:
        """Index ``base``, float32 [n, d] of unit length."""

    @abstractmethod
    def search(self, queries: Float32, k: int, point: Point, threads: int) -> NDArray[np.int64]:
        """Return the positions of the best k, int64 [q, k]."""


class Flat(Contender):
    """clipsearch's exact index: one BLAS product and a selection."""

    name = "exact flat"

    def build(self, base: Float32, data: Clustered, threads: int, seed: int) -> None:
        self.index = FlatIndex(base)

    def search(self, queries: Float32, k: int, point: Point, threads: int) -> NDArray[np.int64]:
        limit_blas(threads)
        return self.index.search(queries, k)[1]


class Clipsearch(Contender):
    """IVF-PQ with exact re-rank, built and tuned as the server builds it; the first point is the tuned one."""

    name = "clipsearch"
    point_names = ("nprobe", "overfetch")

    def build(self, base: Float32, data: Clustered, threads: int, seed: int) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="index-")
        rows = np.arange(len(base))
        blocks = (base[start : start + 16384].astype(np.float16) for start in range(0, len(base), 16384))
        source = IndexSource(rows, base.shape[1], blocks, map(str, rows), seq=1, text_queries=data.text_queries[::2])
        options = IndexOptions(kind=Kind.IVFPQ, threads=threads, seed=seed)
        self.manifest: IndexManifest = build_index(Path(self._directory.name), source, options)
        index = open_index(self._directory.name, "cpu", threads, verify=False).index
        assert isinstance(index, IvfPqIndex)
        self.index = index
        self.bytes_per_item = sum(size for part, size in self.manifest.bytes_per_item().items() if part != "rerank")
        tuned, most = index.nprobe, index.max_nprobe
        probes = sorted({max(1, min(most, round(tuned * factor))) for factor in (0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8)})
        self.points = [(float(tuned), index.overfetch)] + [
            (float(nprobe), factor * index.overfetch) for factor in (1, 2, 4) for nprobe in probes
        ]

    def search(self, queries: Float32, k: int, point: Point, threads: int) -> NDArray[np.int64]:
        self.index.threads = threads
        return self.index.search_with(queries, k, int(point[0]), point[1])[1]


class BareFaiss(Contender):
    """What one would write with FAISS alone: its own training, its IVF-PQ, and a re-rank in numpy."""

    name = "faiss, numpy re-rank"
    point_names = ("nprobe", "candidates")

    def build(self, base: Float32, data: Clustered, threads: int, seed: int) -> None:
        faiss.omp_set_num_threads(threads)
        nlist, d = choose_nlist(len(base)), base.shape[1]
        quantizer = faiss.IndexFlatIP(d)
        self.index = faiss.IndexIVFPQ(quantizer, d, nlist, choose_m(d), 8, faiss.METRIC_INNER_PRODUCT)
        self.quantizer, self.base = quantizer, base
        sample = np.random.default_rng(seed).choice(len(base), min(len(base), 64 * nlist), replace=False)
        self.index.train(base[sample])
        self.index.add(base)
        self.bytes_per_item = len(faiss.serialize_index(self.index)) / len(base)
        probes = [2**step for step in range(2, 9) if 2**step <= nlist]
        self.points = [(float(nprobe), float(candidates)) for candidates in (100, 300) for nprobe in probes]

    def search(self, queries: Float32, k: int, point: Point, threads: int) -> NDArray[np.int64]:
        faiss.omp_set_num_threads(threads)
        limit_blas(threads)
        self.index.nprobe = int(point[0])
        _, found = self.index.search(queries, int(point[1]))
        best = np.empty((len(queries), k), dtype=np.int64)
        for row, (query, listed) in enumerate(zip(queries, found, strict=True)):
            candidates = listed[listed >= 0]
            order = np.argsort(-(self.base[candidates] @ query))[:k]
            best[row] = np.pad(candidates[order], (0, k - len(order)), constant_values=-1)
        return best


class Hnswlib(Contender):
    """hnswlib, M 16, ef_construction 200; float32 vectors inside."""

    name = "hnswlib"
    point_names = ("ef",)

    def build(self, base: Float32, data: Clustered, threads: int, seed: int) -> None:
        import hnswlib

        n, d = base.shape
        self.index = hnswlib.Index(space="ip", dim=d)
        self.index.init_index(max_elements=n, M=16, ef_construction=200, random_seed=seed)
        self.index.add_items(base, num_threads=threads)
        self.bytes_per_item = self.index.index_file_size() / n - 4 * d
        self.points = [(float(ef),) for ef in (10, 20, 40, 80, 160, 320, 640, 1280)]

    def search(self, queries: Float32, k: int, point: Point, threads: int) -> NDArray[np.int64]:
        self.index.set_ef(int(point[0]))
        labels, _ = self.index.knn_query(queries, k=k, num_threads=threads)
        return np.asarray(labels, dtype=np.int64)


class Usearch(Contender):
    """USearch, connectivity 16, float16 vectors inside."""

    name = "usearch"
    point_names = ("expansion",)

    def build(self, base: Float32, data: Clustered, threads: int, seed: int) -> None:
        from usearch.index import Index

        n, d = base.shape
        self.index: Any = Index(ndim=d, metric="ip", dtype="f16", connectivity=16, expansion_add=128)
        self.index.add(np.arange(n), base, threads=threads)
        self.bytes_per_item = self.index.serialized_length / n - 2 * d
        self.points = [(float(expansion),) for expansion in (16, 32, 64, 128, 256, 512, 1024)]

    def search(self, queries: Float32, k: int, point: Point, threads: int) -> NDArray[np.int64]:
        self.index.expansion_search = int(point[0])
        keys = np.asarray(self.index.search(queries, k, threads=threads).keys)
        return keys.reshape(len(queries), -1).astype(np.int64)


class FaissFlat(Contender):
    """FAISS's own exact index."""

    name = "faiss flat"

    def build(self, base: Float32, data: Clustered, threads: int, seed: int) -> None:
        faiss.omp_set_num_threads(threads)
        self.index = faiss.IndexFlatIP(base.shape[1])
        self.index.add(base)

    def search(self, queries: Float32, k: int, point: Point, threads: int) -> NDArray[np.int64]:
        faiss.omp_set_num_threads(threads)
        limit_blas(threads)
        found: NDArray[np.int64] = self.index.search(queries, k)[1]
        return found


class MilvusLite(Contender):
    """Milvus Lite, HNSW with the settings of hnswlib above; a database, so each search goes through its client.

    How many threads it uses is its own choice.
    """

    name = "milvus-lite"
    point_names = ("ef",)
    points = tuple((float(ef),) for ef in (10, 20, 40, 80, 160, 320, 640))
    _COLLECTION = "vectors"
    _AT_ONCE = 2000

    def build(self, base: Float32, data: Clustered, threads: int, seed: int) -> None:
        from pymilvus import DataType, MilvusClient

        self._directory = tempfile.TemporaryDirectory(prefix="milvus-")
        self.client: Any = MilvusClient(str(Path(self._directory.name) / "vectors.db"))
        schema = self.client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=base.shape[1])
        self.client.create_collection(self._COLLECTION, schema=schema)
        for start in range(0, len(base), self._AT_ONCE):
            block = base[start : start + self._AT_ONCE]
            rows = [{"id": start + i, "vector": vector} for i, vector in enumerate(block)]
            self.client.insert(self._COLLECTION, rows)
        # What is not sealed into segments yet is searched without the index.
        self.client.flush(self._COLLECTION)
        index = self.client.prepare_index_params()
        settings = {"M": 16, "efConstruction": 200}
        index.add_index("vector", index_type="HNSW", metric_type="IP", params=settings)
        self.client.create_index(self._COLLECTION, index)
        self.client.load_collection(self._COLLECTION)
        on_disk = sum(file.stat().st_size for file in Path(self._directory.name).rglob("*") if file.is_file())
        self.bytes_per_item = on_disk / len(base) - 4 * base.shape[1]

    def search(self, queries: Float32, k: int, point: Point, threads: int) -> NDArray[np.int64]:
        settings = {"metric_type": "IP", "params": {"ef": max(k, int(point[0]))}}
        answers = self.client.search(
            self._COLLECTION, data=queries, limit=k, search_params=settings, output_fields=["id"]
        )
        found = np.full((len(queries), k), -1, dtype=np.int64)
        for row, hits in zip(found, answers, strict=True):
            row[: len(hits)] = [hit["id"] for hit in hits]
        return found


CONTENDERS: dict[str, type[Contender]] = {
    kind.name: kind for kind in (Flat, Clipsearch, BareFaiss, FaissFlat, Hnswlib, Usearch, MilvusLite)
}
