"""What a source yields: items whose pictures are not read yet."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.ingest.reasons import BadRecord

Fetch = Callable[[str], bytes]
"""Downloads a URL; raises BadRecord with the fetch's own reason."""

MAX_URI_BYTES = 2048
"""Longest uri that a server takes."""


class Picture(Protocol):
    """A picture that can be read when it is needed."""

    @property
    def name(self) -> str:
        """What a person finds it by: a path or a URL."""
        ...

    def stamp(self) -> str | None:
        """Return what changes when the picture does, without reading it; None where only reading tells.

        Raises BadRecord where it is not there.
        """
        ...

    def read(self, fetch: Fetch, max_bytes: int) -> bytes:
        """Return its encoded bytes; raises BadRecord where they cannot be had or are more than ``max_bytes``."""
        ...


@dataclass(frozen=True, slots=True)
class FilePicture:
    """A file; ``name`` is its path as the source words it."""

    path: Path
    name: str

    def stamp(self) -> str:
        """Size and time of the last change."""
        try:
            found = self.path.stat()
        except OSError as error:
            raise _unreadable(self.name, error) from error
        return f"{self.name}\t{found.st_size}\t{found.st_mtime_ns}"

    def read(self, fetch: Fetch, max_bytes: int) -> bytes:
        """Read the file, not beyond the limit."""
        try:
            with self.path.open("rb") as file:
                content = file.read(max_bytes + 1)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        return _within(content, self.name, max_bytes)


@dataclass(frozen=True, slots=True)
class UrlPicture:
    """A picture on the web. Its stamp is the URL: what lies behind one is taken to stay, unless ``recheck``."""

    name: str
    recheck: bool = False

    def stamp(self) -> str | None:
        """The URL, or nothing where it is to be downloaded again."""
        return None if self.recheck else self.name

    def read(self, fetch: Fetch, max_bytes: int) -> bytes:
        """Download it; the fetch has limits of its own."""
        return _within(fetch(self.name), self.name, max_bytes)


@dataclass(frozen=True, slots=True)
class InlinePicture:
    """A picture whose bytes came with its row."""

    content: bytes = field(repr=False)
    name: str = ""

    def stamp(self) -> None:
        """Nothing: the bytes are at hand, and tell better."""
        return

    def read(self, fetch: Fetch, max_bytes: int) -> bytes:
        """Return the bytes."""
        return _within(self.content, self.name, max_bytes)


@dataclass(frozen=True, slots=True)
class TarPicture:
    """A part of an uncompressed tar file: ``size`` bytes at ``offset``; ``tar_stamp`` changes when the file does."""

    tar: Path
    tar_stamp: str
    offset: int
    size: int
    name: str

    def stamp(self) -> str:
        """The tar file's stamp and the place in it."""
        return f"{self.name}\t{self.tar_stamp}\t{self.offset}\t{self.size}"

    def read(self, fetch: Fetch, max_bytes: int) -> bytes:
        """Read the member alone."""
        if self.size > max_bytes:
            raise _too_large(self.name, max_bytes)
        try:
            with self.tar.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        if len(content) != self.size:
            raise BadRecord("FILE_UNREADABLE", f"{self.name}: the tar file ends before the picture does")
        return content


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One item of a source, found by its pictures, else by its text, else by its vector (float [dimension]).

    ``where`` says where in the source it stands, for people.
    """

    where: str
    id: str
    pictures: tuple[Picture, ...] = ()
    text: str | None = None
    vector: NDArray[Any] | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    uri: str = ""

    def stamp(self) -> str | None:
        """Return what changes when the content does, None where it has to be read; raises BadRecord."""
        stamps = [picture.stamp() for picture in self.pictures]
        return None if not stamps or None in stamps else "\n".join(filter(None, stamps))

    def description(self) -> bytes:
        """Return what identifies metadata and uri; raises BadRecord where the metadata cannot be stored as JSON."""
        try:
            text = json.dumps(
                [self.metadata, self.uri], ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
            )
            return hashlib.sha256(text.encode()).digest()
        except (TypeError, ValueError, RecursionError) as error:
            raise BadRecord("METADATA_NOT_USABLE", f"metadata cannot be stored as JSON: {error}") from error

    def content(self, pictures: Iterable[bytes]) -> bytes:
        """Return what identifies the content, given what was read of the pictures."""
        digest = hashlib.sha256()
        if self.pictures:
            digest.update(b"images")
            for data in pictures:
                digest.update(hashlib.sha256(data).digest())
        elif self.text is not None:
            digest.update(b"text" + self.text.encode(errors="surrogatepass"))
        elif self.vector is not None:
            digest.update(b"vector" + np.asarray(self.vector, np.float32).tobytes())
        return digest.digest()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to find it by."""
        return not self.pictures and self.text is None and self.vector is None


@dataclass(frozen=True, slots=True)
class Unusable:
    """An item of a source that cannot be used. Its id is known, so it is not taken for gone."""

    where: str
    id: str
    problem: BadRecord


Found = Record | Unusable


def _within(content: bytes, name: str, max_bytes: int) -> bytes:
    if len(content) > max_bytes:
        raise _too_large(name, max_bytes)
    return content


def _too_large(name: str, max_bytes: int) -> BadRecord:
    return BadRecord("PICTURE_TOO_LARGE", f"{name} has more than {max_bytes:,} bytes")


def _unreadable(name: str, error: OSError) -> BadRecord:
    if isinstance(error, FileNotFoundError):
        return BadRecord("FILE_NOT_FOUND", f"there is no file {name}")
    return BadRecord("FILE_UNREADABLE", f"{name} cannot be read: {os.strerror(error.errno or 0)}")
