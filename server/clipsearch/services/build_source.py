"""What a build may load: told by its name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from clipsearch.errors import InvalidInput
from clipsearch.services.build_parquet import open_parquet
from clipsearch.services.build_report import Rejects, Tally
from clipsearch.services.build_vectors import VectorSource, open_npy

Opener = Callable[[Path, Path | None, Rejects, Tally], VectorSource]

_OPENERS: Mapping[str, Opener] = {".npy": open_npy, ".parquet": open_parquet, ".pq": open_parquet}


def vectors_opener(source: Path) -> Opener | None:
    """Return what opens a file of ready vectors, None for a directory of pictures; raises InvalidInput for others."""
    if source.is_dir():
        return None
    opener = _OPENERS.get(source.suffix.lower())
    if opener is None:
        raise InvalidInput(f"{source} is neither a directory of pictures, .npy nor .parquet", field="source")
    return opener
