"""Checks a whole collection: the catalogue, its newest index, and that the two agree."""

from pathlib import Path

from clipsearch.catalogue.verify import DerivedIndex, Verification, verify_catalogue
from clipsearch.errors import UnusableIndex
from clipsearch.index.ids import open_ids
from clipsearch.index.rows import open_rows
from clipsearch.index.storage import check_files, find_snapshots, read_manifest


def verify(collection: Path) -> Verification:
    """Read everything there is and report what is wrong; a collection without an index is whole.

    Raises UnusableIndex where there is no catalogue to open. Damage found later is reported, not raised.
    """
    snapshots = find_snapshots(collection)
    if not snapshots:
        return verify_catalogue(collection)
    try:
        index = _read_index(snapshots[-1])
    except UnusableIndex as error:
        found = verify_catalogue(collection)
        return Verification(found.live, found.tombstones, (*found.problems, error.message), found.damaged)
    return verify_catalogue(collection, index)


def _read_index(path: Path) -> DerivedIndex:
    manifest = read_manifest(path)
    check_files(path, manifest, hashes=True)
    return DerivedIndex(manifest.seq, open_rows(path, manifest.size), open_ids(path, manifest.size))
