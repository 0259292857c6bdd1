"""What the tests of the offline build share: sources, a run, and what came of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import Collection, CollectionOptions
from clipsearch.encoders.load import Encoders
from clipsearch.index.build import IndexOptions
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Kind, Training
from clipsearch.index.tuning import Report
from clipsearch.offline import Outcome, Request, build_with

from .tiny_build import DIMENSION, silent

ROOT = Path(__file__).parents[2]


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((24, 24), Image.Resampling.NEAREST).save(path)


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def rejects(out: Path) -> dict[str, str]:
    lines = (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return {entry["path"]: entry["reason"] for entry in map(json.loads, lines)}


def run(request: Request, encoders: Encoders | None = None, kind: Kind = Kind.AUTO) -> Outcome:
    return build_with(encoders, request, IndexOptions(kind=kind, threads=1), silent)


@contextmanager
def opened(directory: Path) -> Iterator[Collection]:
    """A built directory as the server opens it; it is not asked to build an index."""
    options = CollectionOptions(DIMENSION, "11" * 32, unasked, device="cpu", threads=1, rebuild_by_itself=False)
    collection = Collection("built", directory, options)
    try:
        yield collection
    finally:
        collection.close()


def unasked(directory: Path, reader: CatalogueReader, report: Report, training: Training) -> IndexManifest:
    raise AssertionError(f"nobody asked for an index of {directory}")


def contents(out: Path) -> dict[str, dict[str, object]]:
    with CatalogueReader(out) as reader:
        rows = reader.live_rows().rows.tolist()
        return dict(zip(reader.ids(rows), reader.metadata(rows), strict=True))


def unit(n: int, d: int = DIMENSION) -> NDArray[np.float32]:
    vectors = np.random.default_rng(n).standard_normal((n, d)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
