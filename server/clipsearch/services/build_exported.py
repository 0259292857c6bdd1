"""Parquet that an export wrote: its columns are an item's own parts, and no metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.items import checksum, metadata_json
from clipsearch.errors import BadMetadata, EmbeddingDamaged, InvalidInput
from clipsearch.item_files import CURRENT_ITEMS_VERSION
from clipsearch.services.build_vectors import VectorRow, vector_hash


def check_exported(path: Path, schema: Any, version: str) -> None:
    """Raise InvalidInput unless the file is of the version that is read here, with what ``exported_row`` needs.

    ``checksum`` may be missing: it is left out of a file whose embeddings somebody changed.
    """
    from pyarrow import types

    if version != CURRENT_ITEMS_VERSION:
        raise InvalidInput(
            f"{path} is an export of version {version}, and this release reads version {CURRENT_ITEMS_VERSION} only",
            field="source",
        )
    wanted = {"uri": types.is_string, "metadata": types.is_string, "content_hash": types.is_binary}
    if "checksum" in schema.names:
        wanted["checksum"] = types.is_integer
    for name, fits in wanted.items():
        if name not in schema.names:
            raise InvalidInput(f"{path} is an export without the column {name}", field="source")
        if not fits(schema.field(name).type):
            raise InvalidInput(f"{path}: column {name} is {schema.field(name).type}, not as exported", field="source")


def exported_row(where: str, item_id: str, vector: NDArray[Any] | None, values: Mapping[str, Any]) -> VectorRow:
    """Return the item of a row, given its columns but for the embedding.

    Its content hash counts only where a checksum says that this is the embedding that was made of that content. Raises
    EmbeddingDamaged where it says otherwise, BadMetadata where the metadata is no JSON object.
    """
    metadata = metadata_json(_object(values["metadata"]))
    if vector is None or "checksum" not in values:
        content_hash = None if vector is None else vector_hash(vector)
    elif _checksum(vector) == values["checksum"]:
        content_hash = values["content_hash"]
    else:
        raise EmbeddingDamaged(
            "the embedding does not match its checksum; where embeddings were changed, leave out the column checksum"
        )
    return VectorRow(where, item_id, vector, metadata, content_hash, values["uri"])


def _checksum(vector: NDArray[Any]) -> int:
    with np.errstate(over="ignore"):  # what float16 cannot hold matches nothing
        return checksum(vector.astype("<f2").tobytes())


def _object(text: str | None) -> Mapping[str, object]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise BadMetadata(f"metadata is not valid JSON: {error}", field="metadata") from error
    if not isinstance(value, dict):
        raise BadMetadata("metadata is not a JSON object", field="metadata")
    return value
