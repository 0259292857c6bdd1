"""A directory of pictures as a source: found, read, compared with what is stored, and decoded ahead of the encoder."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clipsearch.catalogue.items import Known
from clipsearch.errors import ClipsearchError
from clipsearch.ports import ImageEncoder, ImagePreprocessor, Pixels

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".ico", ".tga"),
}
"""What is taken for a picture by its name, readable or not: the unreadable ones are listed, other files passed over."""

CHUNK = 128
"""Pictures decoded ahead, and committed together: what an interruption loses at most, twice."""


@dataclass(frozen=True, slots=True)
class Embedder:
    """How pictures become vectors: ``threads`` decode while ``batch`` at a time are embedded."""

    preprocessor: ImagePreprocessor
    encoder: ImageEncoder
    batch: int = 32
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """One file: its path relative to the source with forward slashes, the id it gets, and its metadata as JSON."""

    relative: str
    path: Path
    id: str
    metadata: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that was read: ``pixels`` to embed, None where the same bytes are stored already or it is bad.

    ``problem`` is the reason and the sentence for a bad one.
    """

    picture: Picture
    content_hash: bytes
    pixels: Pixels | None
    problem: tuple[str, str] | None = None


def find_pictures(root: Path) -> list[str]:
    """Return the paths of all pictures under ``root``, relative, sorted, with forward slashes.

    Hidden files and directories are passed over, links to directories are not followed. The list of names is the one
    thing about a source that is held in memory, some hundred bytes a picture: it gives progress a total.
    """
    return sorted(walk_pictures(root, lambda error: None))


def walk_pictures(root: Path, on_error: Callable[[OSError], None]) -> Iterator[str]:
    """Yield the paths of all pictures under ``root``, relative, with forward slashes, in the disk's own order.

    Nothing of the size of a directory is held. Directories that can't be read are told to ``on_error``.
    """
    yield from _walk(os.fspath(root), "", on_error)


def _walk(directory: str, prefix: str, on_error: Callable[[OSError], None]) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path, f"{prefix}{entry.name}/", on_error)
                elif not entry.is_dir() and Path(entry.name).suffix.lower() in SUFFIXES:
                    yield prefix + entry.name
    except OSError as error:
        on_error(error)


def chunks(pictures: Iterable[Picture], size: int = CHUNK) -> Iterator[list[Picture]]:
    """Cut a stream into lists of ``size``."""
    chunk: list[Picture] = []
    for picture in pictures:
        chunk.append(picture)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class Preparation:
    """Reads and decodes in a thread pool, one chunk ahead of whoever consumes."""

    def __init__(self, embedder: Embedder) -> None:
        """Start the threads; use as a context manager so that they end."""
        self._preprocess = embedder.preprocessor
        self._pool = ThreadPoolExecutor(embedder.threads, thread_name_prefix="decode")

    def start(self, chunk: Sequence[Picture], known: Mapping[str, Known]) -> list[Future[Prepared]]:
        """Begin to prepare a chunk; pictures whose bytes are those of ``known`` are not decoded again."""
        return [self._pool.submit(self._prepare, picture, known.get(picture.id)) for picture in chunk]

    def _prepare(self, picture: Picture, known: Known | None) -> Prepared:
        try:
            data = picture.path.read_bytes()
        except OSError as error:
            return Prepared(picture, b"", None, ("FILE_UNREADABLE", f"the file cannot be read: {error.strerror}"))
        digest = hashlib.sha256(data).digest()
        if known is not None and known.content_hash == digest:
            return Prepared(picture, digest, None)
        try:
            return Prepared(picture, digest, self._preprocess(data))
        except ClipsearchError as error:
            return Prepared(picture, digest, None, (error.reason, error.message))

    def __enter__(self) -> "Preparation":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
