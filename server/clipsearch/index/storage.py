"""An index as a directory: written under a temporary name, renamed into place, checked when opened.

``COLLECTION/index-<seq>/`` holds ``manifest.json``, ``vectors.faiss`` (float16 re-rank vectors), ``rows.npy`` (which
rows of the catalogue they are), ``ids.offsets`` and ``ids.utf8``, and for IVF-PQ ``ivfpq.faiss``. All of it is derived
from the catalogue, so whatever is torn, missing or foreign is refused with UnusableIndex and built again; nothing is
repaired in place.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import faiss

from clipsearch.disk import flush
from clipsearch.errors import DeviceUnavailable, UnusableIndex
from clipsearch.index.flat import FlatIndex
from clipsearch.index.gpu import ONE, Gpus, is_on_gpu, load_on_gpus
from clipsearch.index.ids import PackedIds, open_ids
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.manifest import MANIFEST, IndexManifest, StoredFile, parse_manifest
from clipsearch.index.rows import open_rows
from clipsearch.index.threads import limit_blas, serving_threads
from clipsearch.index.vectors import VectorFile, open_vectors
from clipsearch.ports import Rows, VectorIndex

logger = logging.getLogger(__name__)

VECTORS = "vectors.faiss"
IVFPQ = "ivfpq.faiss"

Device = Literal["auto", "cpu", "cuda"]

_SNAPSHOT = re.compile(r"index-(\d+)")


@dataclass(frozen=True, slots=True)
class LoadedIndex:
    """An index ready to search, what it says about itself, and the row and the id at each of its positions.

    ``rows`` is int64 [n], ascending: a position is what ``index`` and ``ids`` know, a row what the catalogue knows.
    """

    index: VectorIndex
    manifest: IndexManifest
    rows: Rows
    ids: PackedIds
    path: Path


def snapshot_path(collection: Path, seq: int) -> Path:
    """Return where the index derived at ``seq`` lies inside a collection directory."""
    return collection / f"index-{seq}"


def newest_snapshot(collection: Path) -> Path:
    """Return the snapshot directory of the highest sequence number; raises UnusableIndex where there is none."""
    if not collection.is_dir():
        raise UnusableIndex(f"{collection} is not a directory, so there is no index to open")
    found = find_snapshots(collection)
    if not found:
        raise UnusableIndex(f"{collection} holds no index; make one with `clipsearch index build`")
    return found[-1]


def find_snapshots(collection: Path) -> list[Path]:
    """Return the snapshot directories of a collection directory, the newest last."""
    found = [(int(match[1]), path) for path in collection.iterdir() if (match := _SNAPSHOT.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def open_index(
    collection: str | Path,
    device: Device = "auto",
    threads: int | None = None,
    *,
    gpus: Gpus = ONE,
    verify: bool = True,
) -> LoadedIndex:
    """Open the newest index of a collection directory, or an ``index-<seq>`` directory itself.

    ``threads`` is how many a search may use (default: a quarter of the cores); it also sets the BLAS threads of this
    process. ``verify`` compares every file with its SHA-256, about a second per gigabyte; without it only sizes and
    headers are looked at. Raises UnusableIndex where the files are not whole, and DeviceUnavailable where ``cuda`` was
    asked for and cannot be had; ``auto`` takes a GPU where FAISS can use one, and ``gpus`` says how many and how.
    """
    given = Path(collection)
    path = given if (given / MANIFEST).is_file() else newest_snapshot(given)
    manifest = read_manifest(path)
    if _SNAPSHOT.fullmatch(path.name) and path.name != snapshot_path(given, manifest.seq).name:
        raise UnusableIndex(f"{path} says that it is of sequence number {manifest.seq}; build the index again")
    check_files(path, manifest, hashes=verify)
    rows, ids = open_rows(path, manifest.size), open_ids(path, manifest.size)
    vectors = open_vectors(path / VECTORS, manifest.size, manifest.dimension)
    threads = threads or serving_threads()
    limit_blas(threads)
    return LoadedIndex(_load(path, manifest, vectors, device, threads, gpus=gpus), manifest, rows, ids, path)


def _load(
    path: Path, manifest: IndexManifest, vectors: VectorFile, device: Device, threads: int, *, gpus: Gpus
) -> VectorIndex:
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceUnavailable(f"unknown device {device!r}; use auto, cpu or cuda")
    ivf = read_ivfpq(path, manifest) if manifest.ivfpq else None
    if is_on_gpu(device):
        return load_on_gpus(manifest, vectors.matrix, ivf, gpus)
    if manifest.ivfpq is None:
        return FlatIndex(vectors.matrix)
    shape = manifest.ivfpq
    return IvfPqIndex(ivf, vectors, nprobe=shape.nprobe, overfetch=shape.overfetch, threads=threads)


def read_ivfpq(path: Path, manifest: IndexManifest) -> Any:
    """Read the FAISS file of an index directory and check that it is the one that the manifest describes."""
    file = path / IVFPQ
    try:
        ivf = faiss.read_index(str(file))
    except RuntimeError as error:
        raise UnusableIndex(f"{file} cannot be read by FAISS {faiss.__version__}; build the index again") from error
    found = (type(ivf).__name__, ivf.d, ivf.ntotal, getattr(ivf, "nlist", None), ivf.metric_type)
    shape = manifest.ivfpq
    wanted = ("IndexIVFPQ", manifest.dimension, manifest.size, shape and shape.nlist, faiss.METRIC_INNER_PRODUCT)
    if found != wanted:
        raise UnusableIndex(f"{file} is not the index that its manifest describes; build the index again")
    return ivf


def read_manifest(path: Path) -> IndexManifest:
    """Return the manifest of an index directory; raises UnusableIndex where there is none that can be read."""
    file = path / MANIFEST
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableIndex(f"{file} cannot be read ({error}); build the index again") from error
    return parse_manifest(text, str(file))


def check_files(path: Path, manifest: IndexManifest, *, hashes: bool, names: Container[str] | None = None) -> None:
    """Compare the files of an index directory with its manifest; raises UnusableIndex at the first that differs.

    ``names`` are those to look at, all by default.
    """
    for name, stored in manifest.files.items():
        if names is not None and name not in names:
            continue
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size is None:
            raise UnusableIndex(f"{file} is missing; build the index again")
        if size != stored.bytes:
            raise UnusableIndex(f"{file} has {size} bytes instead of {stored.bytes}; build the index again")
        if hashes and _sha256(file) != stored.sha256:
            raise UnusableIndex(f"{file} is damaged (its SHA-256 differs); build the index again")


def describe_files(path: Path) -> dict[str, StoredFile]:
    """Return size and SHA-256 of every file of a directory, flushed to the disk first."""
    described = {}
    for file in sorted(path.iterdir()):
        flush(file)
        described[file.name] = StoredFile(bytes=file.stat().st_size, sha256=_sha256(file))
    return described


def publish(building: Path, manifest: IndexManifest, collection: Path) -> Path:
    """Write the manifest into ``building`` and rename that to its final name; returns the final path.

    After this returns the index survives power loss. An older index of the same number is replaced, and those of older
    numbers are removed: they could all be built again.
    """
    file = building / MANIFEST
    file.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    flush(file)
    flush(building)
    final = snapshot_path(collection, manifest.seq)
    if final.exists():
        # A directory cannot replace a directory that has files. A crash between these two renames leaves no index of
        # this number, which the next build notices.
        final.rename(building.with_name(building.name + ".old"))
    building.rename(final)
    flush(collection)
    for path in collection.iterdir():
        if path != final and (_SNAPSHOT.fullmatch(path.name) or path.name.startswith(BUILDING)):
            shutil.rmtree(path)
    return final


def copy_newest(collection: Path, to: Path) -> IndexManifest | None:
    """Copy the newest index of a collection directory into another one, flushed to the disk; returns its manifest.

    None where there is none that is whole, which the copy tells. Where a rebuild replaces the index meanwhile, the
    newer one is copied.
    """
    tried: Path | None = None
    while (found := find_snapshots(collection)) and found[-1] != tried:
        tried = found[-1]
        copied = to / tried.name
        try:
            return _copy(tried, copied)
        except (UnusableIndex, FileNotFoundError) as error:
            logger.info("%s is not whole, or was just replaced: %s", tried, error)
            shutil.rmtree(copied, ignore_errors=True)
    return None


def _copy(path: Path, to: Path) -> IndexManifest:
    manifest = read_manifest(path)
    to.mkdir(parents=True)
    for name in (*manifest.files, MANIFEST):
        shutil.copyfile(path / name, to / name)
        flush(to / name)
    flush(to)
    # Of the copy, so that a disk that garbles on the way is found too.
    check_files(to, read_manifest(to), hashes=True)
    return manifest


BUILDING = ".building-"
"""Prefix of directories that a build has not finished; anything of that name may be deleted when no build runs."""


def remove_unfinished(collection: Path) -> None:
    """Remove what interrupted builds left; nobody may be building."""
    for path in collection.glob(BUILDING + "*"):
        shutil.rmtree(path)


def start_building(collection: Path) -> Path:
    """Return a new empty directory to build in, removing what an interrupted build left."""
    collection.mkdir(parents=True, exist_ok=True)
    remove_unfinished(collection)
    path = collection / f"{BUILDING}{os.getpid()}"
    path.mkdir()
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
