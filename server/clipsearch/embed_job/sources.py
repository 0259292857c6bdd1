"""What is embedded: a directory of pictures, lines of text, or a column of a table."""

import os
import sys
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clipsearch.catalogue.items import check_id
from clipsearch.embed_job.items import Content, Item, Kind, Problem, Url
from clipsearch.embed_job.listing import Listing
from clipsearch.errors import InvalidInput
from clipsearch.fetch.urls import is_url

STDIN = Path("-")
MAX_FILE_BYTES = 64 << 20
"""Largest file that is read as a picture: no message to a server holds more."""

_CHUNK_BYTES = 1 << 20


class Source(Protocol):
    """Items in an order that is the same each time. ``total`` is None where only reading it all would tell."""

    @property
    def kind(self) -> Kind:
        """Whether the items are texts or pictures."""

    @property
    def total(self) -> int | None:
        """How many items there are."""

    @property
    def repeatable(self) -> bool:
        """Whether ``items`` can begin again."""

    def items(self) -> Generator[Item, None, None]:
        """Yield the items, from the first."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures under a directory; an item's id is its path relative to it, with forward slashes."""

    root: Path
    listing: Listing
    kind: Kind = "image"
    repeatable: bool = True

    @property
    def total(self) -> int:
        """How many there are."""
        return self.listing.count

    def items(self) -> Generator[Item, None, None]:
        """Yield them, in the order of the ids."""
        for name in self.listing:
            yield usable_id(picture_file(name, self.root / name))


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a UTF-8 file or of standard input; an item's id is its line number, from 1.

    With ``kind`` image, a line is the path of a picture, relative to ``base``, or a URL.
    """

    path: Path
    base: Path
    total: int | None
    kind: Kind

    @property
    def repeatable(self) -> bool:
        """Whether it can be read again."""
        return self.path != STDIN and self.path.is_file()

    def items(self) -> Generator[Item, None, None]:
        """Yield them, in order."""
        # Bytes, so that a line which is not UTF-8 costs itself alone.
        with nullcontext(sys.stdin.buffer) if self.path == STDIN else self.path.open("rb") as file:
            for number, ended in enumerate(file, start=1):
                line = ended.rstrip(b"\r\n")
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError as error:
                    problem = Problem("TEXT_NOT_UTF8", f"the line is not UTF-8: {error.reason}")
                    yield Item(str(number), problem, line)
                else:
                    if self.kind == "text":
                        yield Item(str(number), text, line)
                    else:
                        yield picture(str(number), text.strip(), self.base)


def picture(item_id: str, value: str, base: Path) -> Item:
    """Return the item of a picture that is named by a URL or by a path relative to ``base``."""
    if not value:
        return Item(item_id, Problem("VALUE_MISSING", "there is no path or URL"), b"")
    if is_url(value):
        return Item(item_id, Url(value), value.encode("utf-8", "surrogatepass"))
    return picture_file(item_id, base / value)


def picture_file(item_id: str, path: Path) -> Item:
    """Return the item of a picture's file, marked by size and time: reading them all twice would take too long."""
    try:
        status = os.stat(path)  # noqa: PTH116  half the time of Path.stat, a million times
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = error.strerror if isinstance(error, OSError) else "not a file name"
        return Item(item_id, Problem("FILE_UNREADABLE", f"the picture can't be read: {why}"), b"")
    content: Content = path
    if status.st_size > MAX_FILE_BYTES:
        content = Problem("IMAGE_TOO_LARGE", f"the file has {status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")
    return Item(item_id, content, b"%d:%d" % (status.st_size, status.st_mtime_ns))


def usable_id(item: Item) -> Item:
    """Return the item, with a problem in place of its content where its id could not be an item's id elsewhere."""
    try:
        check_id(item.id)
    except InvalidInput as error:
        return item._replace(content=Problem(error.reason, error.message))
    return item


def open_directory(root: Path, scratch: Path) -> Pictures:
    """Return the pictures of a directory; raises InvalidInput where there are none."""
    listing = Listing(root, scratch)
    if not listing.count:
        raise InvalidInput(f"there are no pictures in {root}", field="source")
    return Pictures(root, listing)


def open_lines(path: Path, kind: Kind) -> Lines:
    """Return the lines of a file or pipe, or of standard input for ``-``."""
    if path == STDIN:
        return Lines(path, Path(), None, kind)
    # A pipe is read once, and counting would be that once.
    return Lines(path, path.parent, _count_lines(path) if path.is_file() else None, kind)


def _count_lines(path: Path) -> int:
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(_CHUNK_BYTES):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")
