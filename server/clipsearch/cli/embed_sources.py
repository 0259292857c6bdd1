"""What ``clipsearch embed`` reads: a directory of pictures, or lines of text."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from clipsearch.catalogue.items import check_id
from clipsearch.errors import InvalidInput
from clipsearch.picture_files import find_pictures

Reject = Callable[[str, str, str], None]
"""Lists an item that can't be embedded: its id, an UPPER_SNAKE reason and a sentence."""

STDIN = Path("-")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures under ``root``; an item's id is its path relative to it, with forward slashes."""

    root: Path
    names: list[str]

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.names)

    def items(self, reject: Reject) -> Iterator[tuple[str, Path]]:
        """Yield (id, path), in the order of the ids."""
        for name in self.names:
            try:
                check_id(name)
            except InvalidInput as error:
                reject(name, "ID_NOT_USABLE", error.message)
            else:
                yield name, self.root / name


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a UTF-8 text file or of standard input; an item's id is its line number, from 1."""

    path: Path
    total: int | None

    def items(self, reject: Reject) -> Iterator[tuple[str, str]]:
        """Yield (id, text), in order."""
        # Bytes, so that a line which is not UTF-8 costs itself alone.
        with nullcontext(sys.stdin.buffer) if self.path == STDIN else self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    text = line.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    reject(str(number), "TEXT_NOT_UTF8", f"the line is not UTF-8: {error.reason}")
                else:
                    yield str(number), text


Source = Pictures | Lines


def open_source(path: Path) -> Source:
    """Return the items of a directory, a text file or ``-``. Raises InvalidInput for a directory without pictures."""
    if path == STDIN:
        return Lines(path, None)
    if path.is_dir():
        names = find_pictures(path)
        if not names:
            raise InvalidInput(f"there are no pictures in {path}", field="source")
        return Pictures(path, names)
    return Lines(path, _count_lines(path))


def _count_lines(path: Path) -> int:
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(_CHUNK_BYTES):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")
