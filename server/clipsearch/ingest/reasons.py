"""Why something of a source was left out: the words of the rejects file, and the file."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO


class BadRecord(Exception):
    """An item that cannot be used; it costs its own place only."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Reason:
    """What a reason means. ``hides``: which items were there is not known, so that nothing may be taken for gone."""

    meaning: str
    hides: bool = False


REASONS: Mapping[str, Reason] = {
    "ROW_NOT_READABLE": Reason("a row of a table is no CSV, or no JSON object", hides=True),
    "ID_MISSING": Reason("a row has no id", hides=True),
    "ID_NOT_USABLE": Reason("an id is no text or whole number, too long, no valid Unicode, or has control characters"),
    "ID_DUPLICATE": Reason("an id came earlier in the source; the first one counts"),
    "CONTENT_MISSING": Reason("an item has no picture, text or vector to be found by"),
    "FILE_NOT_FOUND": Reason("a row names a picture file that is not there"),
    "FILE_UNREADABLE": Reason("a picture file cannot be read"),
    "PICTURE_TOO_LARGE": Reason("a picture has more bytes than `--max-picture-mib`"),
    "PICTURE_NOT_USABLE": Reason("what an image column holds is no path, URL or picture"),
    "DIRECTORY_UNREADABLE": Reason("a directory of the source cannot be listed", hides=True),
    "PART_TOO_LARGE": Reason("a part of a tar file's sample is larger than any picture or metadata may be"),
    "SHARD_DAMAGED": Reason("a tar file is no tar file, damaged, or ends too early", hides=True),
    "METADATA_NOT_USABLE": Reason("metadata is no JSON object, too large, or holds what JSON has no word for"),
    "METADATA_DUPLICATE": Reason("a second row of a metadata file is about the same picture; the first one counts"),
    "METADATA_WITHOUT_PICTURE": Reason("a row of a metadata file belongs to no picture of the directory"),
    "MESSAGE_TOO_LARGE": Reason("an item's pictures together are more than one message may have"),
    "NOT_UNICODE": Reason("a text of an item is no valid Unicode"),
}
"""What this side finds. A failed download has the reason of its ``FetchError``, and what the server refuses its own."""


def rejects_table() -> str:
    """Return the reasons as docs/ingest.md shows them."""
    rows = (f"| `{name}` | {reason.meaning} | {'yes' if reason.hides else ''} |" for name, reason in REASONS.items())
    return "\n".join(["| reason | | hides |", "| --- | --- | --- |", *rows]) + "\n"


class Rejects:
    """A JSON Lines file of what was left out: ``source``, ``where``, ``id``, ``reason``, ``message``.

    It is begun anew by each run, and written line by line, so that a run that is killed leaves its list too; where
    nothing was left out there is none. A context manager.
    """

    def __init__(self, path: Path, source: str) -> None:
        """Open the file; OSError where it cannot be made."""
        self.path = path
        self.counts: Counter[str] = Counter()
        self.hidden = 0
        self._source = source
        path.unlink(missing_ok=True)
        self._file: TextIO | None = None

    @property
    def total(self) -> int:
        """How many were left out."""
        return self.counts.total()

    def add(self, where: str, reason: str, message: str, item_id: str | None = None) -> None:
        """List what stands at ``where``, with the id where that is known."""
        self.counts[reason] += 1
        if reason in REASONS and REASONS[reason].hides:
            self.hidden += 1
        entry = {"source": self._source, "where": where, "id": item_id, "reason": reason, "message": message}
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", buffering=1)
        # Not ensure_ascii=False: a file name that is not valid Unicode must be listed too.
        self._file.write(json.dumps(entry) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
