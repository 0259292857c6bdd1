"""Rows of metadata that wait for their pictures."""

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """One row: where it stands, its id and picture if it names them, and everything but the id as JSON."""

    where: str
    id: str | None
    image: str | None
    json: str


class Rejects(Protocol):
    """Where rows that are of no use are listed."""

    def add(self, path: str, reason: str, message: str) -> None:
        """List the row at ``path`` with an UPPER_SNAKE reason and a sentence."""
        ...


class PictureMetadata:
    """Metadata rows to be claimed by pictures, once each. A context manager.

    A row belongs to the picture that its ``image`` names, relative to the source directory or else to ``base``; without
    ``image`` to the one whose relative path, with or without suffix, is its ``id``. The rows lie in a temporary
    database of SQLite, which goes to disk when it grows, so that memory does not grow with the file.
    """

    def __init__(self, rows: Iterable[MetadataRow | None], root: Path, base: Path, rejects: Rejects) -> None:
        """Take the rows in; those of neither id nor image, and second ones of one key, are listed in ``rejects``."""
        self._rejects = rejects
        # An empty name: a database of this connection's alone, removed with it.
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._rows.execute(
            "CREATE TABLE waiting (image TEXT, id TEXT, place TEXT NOT NULL, item TEXT, json TEXT NOT NULL)"
        )
        self._rows.execute("CREATE UNIQUE INDEX by_image ON waiting (image) WHERE image IS NOT NULL")
        self._rows.execute("CREATE UNIQUE INDEX by_id ON waiting (id) WHERE id IS NOT NULL")
        self._rows.execute("BEGIN")
        try:
            for row in rows:
                if row is not None:
                    self._keep(row, root, base)
        except BaseException:
            self.close()
            raise

    def _keep(self, row: MetadataRow, root: Path, base: Path) -> None:
        if row.image is None and row.id is None:
            self._rejects.add(row.where, "METADATA_NOT_USABLE", "the row has neither id nor image")
            return
        image = None if row.image is None else _relative(row.image, root, base)
        key = row.id if image is None else image
        values = (image, key if image is None else None, row.where, row.id, row.json)
        try:
            self._rows.execute("INSERT INTO waiting VALUES (?, ?, ?, ?, ?)", values)
        except sqlite3.IntegrityError:
            column = "id" if image is None else "image"
            ((first,),) = self._rows.execute(f"SELECT place FROM waiting WHERE {column} = ?", (key,))
            self._rejects.add(row.where, "METADATA_DUPLICATE", f"{first} is about {key!r} already")
        except UnicodeEncodeError:
            self._rejects.add(row.where, "METADATA_NOT_USABLE", "the row holds text that is not valid Unicode")

    def claim(self, relative: str) -> MetadataRow | None:
        """Return and remove the row of a picture, given its path relative to the source directory."""
        stem = os.path.splitext(relative)[0]  # noqa: PTH122  (a string with forward slashes, not a path of this system)
        for column, key in (("image", relative), ("id", relative), ("id", stem)):
            sql = f"DELETE FROM waiting WHERE {column} = ? RETURNING place, item, image, json"
            for found in self._rows.execute(sql, (os.fsencode(key).decode(errors="replace"),)).fetchall():
                return MetadataRow(*found)
        return None

    def report_unclaimed(self) -> int:
        """List the rows that no picture has claimed and return how many there are."""
        count = 0
        for place, name in self._rows.execute("SELECT place, coalesce(image, id) FROM waiting ORDER BY rowid"):
            self._rejects.add(place, "METADATA_WITHOUT_PICTURE", f"no picture {name!r} in the source")
            count += 1
        return count

    def close(self) -> None:
        """Give the room back."""
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _relative(image: str, root: Path, base: Path) -> str:
    """Return a picture's path relative to ``root``, with forward slashes."""
    given = image.replace("\\", "/")
    for start in (root, base):
        path = Path(os.path.abspath(start / given))  # noqa: PTH100  (resolve would follow links out of the source)
        if path.is_relative_to(os.path.abspath(root)) and path.exists():  # noqa: PTH100
            return path.relative_to(os.path.abspath(root)).as_posix()  # noqa: PTH100
    return given
