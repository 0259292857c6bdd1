"""A small catalogue to write."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsearch.catalogue.writer import CatalogueWriter

from .support import HASH, D


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[CatalogueWriter]:
    """The writer of an empty catalogue in ``tmp_path``."""
    with CatalogueWriter(tmp_path, D, HASH) as opened:
        yield opened
