"""The check of a whole collection: catalogue, index, and both against each other."""

from pathlib import Path

import numpy as np
import pytest

from clipsearch.catalogue.backup import backup
from clipsearch.catalogue.mutations import Delete
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import UnusableIndex
from clipsearch.index.ids import write_ids
from clipsearch.index.manifest import MANIFEST
from clipsearch.index.storage import describe_files, newest_snapshot, read_manifest
from clipsearch.offline import Request
from clipsearch.verification import verify
from tests.unit.catalogue.support import flip_embedding

from .build_support import run, unit
from .tiny_build import DIMENSION


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Fifty vectors, indexed; then one of them deleted."""
    np.save(tmp_path / "v.npy", unit(50))
    run(Request(tmp_path / "v.npy", tmp_path / "out"))
    with CatalogueWriter(tmp_path / "out", DIMENSION, None) as writer:
        writer.apply([Delete(["3"])])
    return tmp_path / "out"


def test_a_collection_whose_catalogue_has_gone_on_is_whole(collection: Path) -> None:
    found = verify(collection)
    assert found.ok, found
    assert (found.live, found.tombstones) == (49, 1)


def test_a_backup_without_an_index_is_whole(collection: Path, tmp_path: Path) -> None:
    backup(collection, tmp_path / "copy")
    assert verify(tmp_path / "copy").live == 49


def test_damage_of_both_kinds_is_reported(collection: Path) -> None:
    flip_embedding(collection, row=9)
    vectors = newest_snapshot(collection) / "vectors.faiss"
    vectors.write_bytes(vectors.read_bytes()[:-1])
    found = verify(collection)
    assert found.damaged == ("9",)
    assert len(found.problems) == 1 and "vectors.faiss has" in found.problems[0]


def test_an_index_of_another_catalogue_is_reported(collection: Path) -> None:
    snapshot = newest_snapshot(collection)
    write_ids(snapshot, [str(n) if n != 5 else "five" for n in range(50)])
    manifest = read_manifest(snapshot)
    (snapshot / MANIFEST).unlink()
    changed = manifest.model_copy(update={"files": describe_files(snapshot)})
    (snapshot / MANIFEST).write_text(changed.model_dump_json(), encoding="utf-8")
    assert verify(collection).problems == ("the index calls row 5 'five', the catalogue '5'",)


def test_no_catalogue_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnusableIndex, match="is missing"):
        verify(tmp_path)
