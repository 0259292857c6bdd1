"""A directory tree of pictures as a source."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path, PurePosixPath

from clipsearch.errors import InvalidInput
from clipsearch.ingest.columns import Columns, Mapped
from clipsearch.ingest.reasons import BadRecord, Rejects
from clipsearch.ingest.records import MAX_URI_BYTES, FilePicture, Found, Record
from clipsearch.picture_files import is_picture_name, walk_pictures
from clipsearch.picture_metadata import MetadataRow, PictureMetadata
from clipsearch.tables import column_names, is_table, read_rows


class DirectorySource:
    """The pictures under ``root``: an item's id is that of its metadata row, or its path, with forward slashes.

    With ``per_directory`` the pictures that lie together are one item, whose id is their directory's path. A row of
    ``metadata`` (CSV, TSV, JSON Lines) belongs to the picture that its image column names, or else to the path, with
    or without suffix, that its id is. Positions count pictures.
    """

    def __init__(
        self, root: Path, mapped: Mapped, *, metadata: Path | None = None, per_directory: bool = False
    ) -> None:
        """Raises InvalidInput where the metadata file is of no kind that is read, or lacks a column that was named."""
        self.root = root
        self.metadata = metadata
        self.position = 0
        self._per_directory = per_directory
        self._columns: Columns | None = None
        if metadata is not None:
            if not is_table(metadata):
                raise InvalidInput(f"{metadata} is neither .csv, .tsv, .jsonl nor .ndjson", field="metadata")
            self._columns = mapped.resolve(column_names(metadata), metadata.name, needs_content=False)

    def size(self) -> int:
        """Count the pictures; walks the tree."""
        return sum(1 for _ in walk_pictures(self.root))

    def records(self, rejects: Rejects) -> Iterator[Found]:
        """Yield an item for each picture or directory, a directory after the other."""
        self.position = 0

        def unreadable(error: OSError) -> None:
            rejects.add(f"{error.filename}", "DIRECTORY_UNREADABLE", f"the directory can't be listed: {error.strerror}")

        with ExitStack() as stack:
            rows = None
            if self.metadata is not None:
                read = self._rows(self.metadata, rejects)
                rows = stack.enter_context(PictureMetadata(read, self.root, self.metadata.parent, rejects))
            yield from self._items(walk_pictures(self.root, unreadable), rows)
            if rows is not None:
                rows.report_unclaimed()

    @property
    def knows_items_by_path(self) -> bool:
        """Whether each picture is an item by itself, so that a changed path says which."""
        return self.metadata is None and not self._per_directory

    def at(self, paths: Iterable[str]) -> tuple[Iterator[Record], list[str]]:
        """Return the items at, or below, some relative paths, and those paths where nothing is any more."""
        there: list[str] = []
        missing: list[str] = []
        for path in sorted(set(paths)):
            full = self.root / path
            if full.is_dir():
                there += [f"{path}/{name}" for name in walk_pictures(full)]
            elif not full.is_file():
                missing.append(path)
            elif is_picture_name(full.name):
                there.append(path)
        return self._items(sorted(set(there)), None), missing

    def _items(self, names: Iterable[str], rows: PictureMetadata | None) -> Iterator[Record]:
        if self._per_directory:
            # A directory's pictures come together, but for those of its sub-directories after them.
            for directory, group in groupby(names, key=lambda name: PurePosixPath(name).parent.as_posix()):
                yield self._record(directory, list(group), rows)
        else:
            for name in names:
                yield self._record(name, [name], rows)

    def _record(self, key: str, names: list[str], rows: PictureMetadata | None) -> Record:
        self.position += len(names)
        row = None if rows is None else rows.claim(key)
        pictures = tuple(FilePicture(self.root / name, name) for name in names)
        uri = names[0] if len(names[0].encode(errors="replace")) <= MAX_URI_BYTES else ""
        if row is None:
            return Record(key, key, pictures, uri=uri)
        return Record(key, row.id or key, pictures, metadata=json.loads(row.json), uri=uri)

    def _rows(self, path: Path, rejects: Rejects) -> Iterator[MetadataRow]:
        assert self._columns is not None
        columns = self._columns
        for row in read_rows(path, columns.texts):
            where = f"{path.name}:{row.line}"
            try:
                if row.values is None:
                    raise BadRecord("ROW_NOT_READABLE", row.problem)
                image = next((row.values[name] for name in columns.images if row.values.get(name)), None)
                if not isinstance(image, str | None):
                    raise BadRecord("PICTURE_NOT_USABLE", "the image column holds no path")
                metadata = json.dumps(columns.metadata(row.values), ensure_ascii=False)
                yield MetadataRow(where, columns.item_id(row.values), image, metadata)
            except BadRecord as error:
                rejects.add(where, error.reason, error.message)
