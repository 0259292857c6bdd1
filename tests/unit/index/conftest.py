"""One catalogue of clustered vectors and its tuned index, built once for all tests that only read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.clustered_vectors import Clustered, clustered
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Kind
from clipsearch.index.storage import LoadedIndex, open_index


def source(vectors: NDArray[np.float32], texts: NDArray[np.float32] | None = None, seq: int = 7) -> IndexSource:
    """Vectors as a build takes them: blocks of an odd size, ids of more than one byte per letter."""

    def blocks() -> Iterator[NDArray[np.float16]]:
        for start in range(0, len(vectors), 999):
            yield vectors[start : start + 999].astype(np.float16)

    n, d = vectors.shape
    ids = (f"Stück/{row}" for row in range(n))
    rows = np.arange(n, dtype=np.int64) * 3 + 1  # with gaps, as a catalogue of updated items has
    return IndexSource(rows, d, blocks(), ids, seq, model_hash="ab" * 32, text_queries=texts, text_origin="test")


@dataclass(frozen=True)
class Built:
    """An index on disk, opened, and what it was made of."""

    data: Clustered
    collection: Path
    manifest: IndexManifest
    loaded: LoadedIndex
    stages: dict[str, tuple[int, int]]

    @property
    def stored(self) -> NDArray[np.float32]:
        """The vectors as they are on disk: rounded to float16."""
        return self.data.base.astype(np.float16).astype(np.float32)


def build(collection: Path, data: Clustered, kind: Kind, **options: float) -> Built:
    stages: dict[str, tuple[int, int]] = {}
    manifest = build_index(
        collection,
        source(data.base, data.text_queries),
        IndexOptions(kind=kind, threads=1, **options),  # type: ignore[arg-type]
        lambda stage, done, total: stages.update({stage: (done, total)}),
    )
    return Built(data, collection, manifest, open_index(collection, "cpu", 1), stages)


@pytest.fixture(scope="session")
def ivfpq(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """30,000 vectors of 64 coordinates; 600 queries of each kind."""
    return build(tmp_path_factory.mktemp("ivfpq"), clustered(30_000, 64, 600, seed=1), Kind.AUTO)


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """3,001 vectors of 48 coordinates."""
    return build(tmp_path_factory.mktemp("flat"), clustered(3_001, 48, 50, seed=2), Kind.AUTO)
