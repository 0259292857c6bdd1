"""Metadata files: CSV or JSON Lines, one object per item."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from clipsearch.catalogue.items import metadata_json
from clipsearch.errors import InvalidInput
from clipsearch.picture_metadata import MetadataRow
from clipsearch.services.build_report import Rejects
from clipsearch.tables import is_table, read_rows


def read_metadata(path: Path, rejects: Rejects) -> Iterator[MetadataRow | None]:
    """Yield the rows of a CSV, TSV or JSON Lines file in order, None for one that cannot be read (it is listed).

    Raises InvalidInput for any other kind of file.
    """
    if not is_table(path):
        raise InvalidInput(f"{path} is neither .csv, .tsv, .jsonl nor .ndjson", field="metadata")
    for row in read_rows(path):
        where = f"{path.name}:{row.line}"
        try:
            if row.values is None:
                raise InvalidInput(row.problem, field="metadata")
            made = _row(where, row.values)
        except InvalidInput as error:
            rejects.add(where, "METADATA_NOT_USABLE", error.message)
            yield None
        else:
            yield made


def _row(where: str, values: Mapping[str, object]) -> MetadataRow:
    item_id, image = values.get("id"), values.get("image")
    if isinstance(item_id, int | float) and not isinstance(item_id, bool):
        item_id = str(item_id)
    if not isinstance(item_id, str | None) or not isinstance(image, str | None):
        raise InvalidInput("id and image must be texts", field="metadata")
    rest = {name: value for name, value in values.items() if name != "id"}
    return MetadataRow(where, item_id or None, image or None, metadata_json(rest))
