"""Load on a running server: `locust -f benchmarks/locustfile.py --host HOST:PORT MixUser`. See docs/load-testing.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # Locust loads this file by its path

from benchmarks.load.users import (
    BatchEmbedUser,
    ComposedSearchUser,
    FilteredSearchUser,
    ImageSearchUser,
    MixUser,
    StreamEmbedUser,
    TextSearchUser,
    UpsertUser,
)

__all__ = [
    "BatchEmbedUser",
    "ComposedSearchUser",
    "FilteredSearchUser",
    "ImageSearchUser",
    "MixUser",
    "StreamEmbedUser",
    "TextSearchUser",
    "UpsertUser",
]
