"""A collection as a Parquet file: everything that is needed to have the same items elsewhere.

The file holds what the catalogue does: float16 embeddings, so that nothing is rounded on the way, and content hashes,
so that an import into the same collection, or one of the same pictures into another, finds unchanged what is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.catalogue.state import State, StateItem, catalogue_state
from clipsearch.disk import appearing, disk_errors
from clipsearch.errors import ExportExists
from clipsearch.item_files import CURRENT_ITEMS_VERSION, ITEMS_VERSION, SEQUENCE_NUMBER, WEIGHT_HASH
from clipsearch.services.build_report import Report

BLOCK = 1024
"""Items read and written at once: one row group. A few megabytes, or 64 where all metadata are as large as may be."""

DAMAGED_TOLD = 100
"""Damaged items whose ids the result lists; all are counted."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What a file holds: items and last sequence number; how many damaged items it lacks, the first ids; its bytes."""

    items: int
    seq: int
    damaged: int
    first_damaged: Sequence[str]
    file_bytes: int


def check_free(to: Path, *, overwrite: bool) -> None:
    """Raise ExportExists where ``to`` is there, unless it is a file that may be overwritten."""
    if to.exists() and not (overwrite and to.is_file()):
        kind = "a file of this name already; it is only replaced when asked to" if to.is_file() else "no file there"
        raise ExportExists(f"there is {kind}", field="path")


def export_items(collection: Path, to: Path, report: Report, *, overwrite: bool = False) -> Exported:
    """Write all live items of a collection directory, as it is now, into the Parquet file ``to``.

    The collection may be written meanwhile. Items whose embeddings are damaged are left out. Memory stays flat.
    Raises ExportExists, StorageFull, StorageFailed, UnusableIndex where there is no catalogue, and what ``report``
    raises; then there is no new file, and an old one stays.
    """
    import pyarrow.parquet

    written, damaged = 0, 0
    first_damaged: list[str] = []
    with disk_errors("the export"), catalogue_state(collection, BLOCK) as state:
        check_free(to, overwrite=overwrite)
        with appearing(to) as unfinished:
            schema = _schema(state)
            # No dictionaries: ids and embeddings differ from row to row.
            with pyarrow.parquet.ParquetWriter(unfinished, schema, use_dictionary=False) as file:
                report("exporting", 0, state.live)
                for block in state.blocks:
                    file.write_batch(_batch(block.items, schema))
                    written += len(block.items)
                    damaged += len(block.damaged)
                    first_damaged += block.damaged[: DAMAGED_TOLD - len(first_damaged)]
                    report("exporting", written + damaged, state.live)
            check_free(to, overwrite=overwrite)
            file_bytes = unfinished.stat().st_size
    return Exported(written, state.seq, damaged, first_damaged, file_bytes)


def _schema(state: State) -> Any:
    import pyarrow

    about = {ITEMS_VERSION: CURRENT_ITEMS_VERSION, SEQUENCE_NUMBER: str(state.seq)}
    if state.model_hash is not None:
        about[WEIGHT_HASH] = state.model_hash
    return pyarrow.schema(
        [
            pyarrow.field("id", pyarrow.string(), nullable=False),
            pyarrow.field("uri", pyarrow.string()),
            pyarrow.field("metadata", pyarrow.string(), nullable=False),
            pyarrow.field("embedding", pyarrow.list_(pyarrow.float16(), state.dimension), nullable=False),
            pyarrow.field("content_hash", pyarrow.binary()),
            pyarrow.field("checksum", pyarrow.uint32(), nullable=False),
        ],
        metadata=about,
    )


def _batch(items: Sequence[StateItem], schema: Any) -> Any:
    import pyarrow

    embeddings = np.frombuffer(b"".join(item.embedding for item in items), dtype="<f2")
    columns = {
        "id": [item.id for item in items],
        "uri": [item.uri for item in items],
        "metadata": [item.metadata for item in items],
        "embedding": pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(embeddings), type=schema.field("embedding").type
        ),
        "content_hash": [item.content_hash for item in items],
        "checksum": [item.checksum for item in items],
    }
    return pyarrow.RecordBatch.from_pydict(columns, schema=schema)
