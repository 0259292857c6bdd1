"""A real server for the integration tests: the sample bundle, an index of rendered products, a port of its own."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from clipsearch.settings import Settings
from clipsearch_demo.catalogue.write import write_catalogue
from tests.integration.build_support import draw
from tests.integration.bundles import Bundles, make_bundles
from tests.integration.support import ITEMS, SAMPLE_BUNDLE, Running


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Twelve good pictures in two directories."""
    for i in range(12):
        draw(tmp_path / "shop" / ("shoes" if i % 2 else "bags") / f"{i:02}.png", i)
    return tmp_path / "shop"


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of rendered products: ``images/`` and ``metadata.jsonl``."""
    directory = tmp_path_factory.mktemp("catalogue")
    write_catalogue(directory, ITEMS, seed=1, processes=2, progress=False)
    return directory


@pytest.fixture(scope="session")
def index(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue, embedded and indexed by the command line."""
    from clipsearch.cli.index import index as command

    out = tmp_path_factory.mktemp("data") / "default"
    arguments = ["build", str(catalogue / "images"), "--bundle", str(SAMPLE_BUNDLE)]
    arguments += ["--metadata", str(catalogue / "metadata.jsonl"), "--out", str(out)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def server(index: Path) -> Iterator[Running]:
    """A serving server with an index; limits small enough to be tested, and every query computed."""
    settings = Settings(
        bundle=SAMPLE_BUNDLE,
        data=index.parent,
        listen="127.0.0.1:0",
        device="cpu",
        query_cache_mib=0,
        max_batch_items=64,
        max_top_k=50,
        max_text_bytes=4096,
        max_image_bytes=2**20,
        max_image_pixels=4_000_000,
        max_message_bytes=8 * 2**20,
        fronts=1,
    )
    with Running(settings) as running:
        yield running


@pytest.fixture(scope="session")
def channel(server: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Bundles to swap between, all below one directory."""
    return make_bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve pictures in a directory of their own."""
    directory = tmp_path_factory.mktemp("pictures")
    paths = [directory / f"{i:02}.png" for i in range(12)]
    for i, path in enumerate(paths):
        draw(path, i)
    return paths
