"""The scripts in examples/ do what they say, against a real server; docs/examples.md lists them all."""

import asyncio
import importlib.util
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from clipsearch.client import Client, NewItem
from tests.integration.support import ITEMS, ROOT, Running

EXAMPLES = ROOT / "examples"

aiohttp = pytest.importorskip("aiohttp", reason="needs the examples extra")
from aiohttp.test_utils import TestClient, TestServer, unused_port


@pytest.fixture(name="search_service", scope="module")
def _search_service() -> ModuleType:
    """The module, which is in no package."""
    spec = importlib.util.spec_from_file_location("search_service", EXAMPLES / "search_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example(script: str, *arguments: str | Path) -> str:
    """Run a script as a user does; returns what it prints."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(name="photos")
def _photos(catalogue: Path) -> list[Path]:
    return sorted((catalogue / "images").iterdir())


def test_every_example_is_listed_with_how_to_run_it() -> None:
    """One heading for each script, and for each folder of another language."""
    page = (ROOT / "docs/examples.md").read_text(encoding="utf-8")
    there = {path.name for path in EXAMPLES.glob("*.py")} | {
        f"{path.name}/" for path in EXAMPLES.iterdir() if path.is_dir()
    }
    listed = re.findall(r"^## `examples/(\S+)`", page, re.MULTILINE)
    assert sorted(listed) == sorted(there - {"__pycache__/"})
    for section in page.split("\n## ")[1:]:
        assert "```sh" in section, f"how is it run? {section.splitlines()[0]}"


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_script_says_how_to_run_it(script: str) -> None:
    said = example(script, "--help")
    assert f"python examples/{script}" in said
    assert "pip install" in said


def test_pictures_are_embedded_and_loaded_in_pandas_and_polars(
    server: Running, catalogue: Path, photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "photos.parquet"
    said = example("embed_to_dataframes.py", catalogue / "images", out, "--server", server.address)
    pandas_part, polars_part = said.split("pandas: ")[1].split("polars: ")
    assert pandas_part.splitlines()[0] == f"{ITEMS} vectors of 128; most like {photos[0].name}:"
    assert pandas_part.strip() == polars_part.strip(), "both hold the same vectors"
    with Client(server.address) as client:
        hits = client.search(image=photos[0], top_k=6).hits
    cosines = [float(line.split()[0]) for line in pandas_part.splitlines()[1:]]
    assert cosines == pytest.approx([hit.score for hit in hits[1:]], abs=2e-3)


def test_zero_shot_labels_fit(server: Running, photos: list[Path]) -> None:
    kinds = ["dress", "mug", "backpack", "beanie"]
    chosen = [next(photo for photo in photos if photo.name.startswith(kind)) for kind in kinds]
    said = example("zero_shot.py", *chosen, "--labels", *kinds, "--prompt", "a {}", "--server", server.address)
    lines = [line.split("  ") for line in said.splitlines()]
    assert [Path(line[0]) for line in lines] == chosen
    assert [line[1].split()[0] for line in lines] == kinds, said
    for line in lines:
        assert sum(float(label.split()[1]) for label in line[1:]) == pytest.approx(1, abs=3e-3)


@pytest.fixture(name="copies")
def _copies(server: Running, photos: list[Path]) -> Iterator[str]:
    """A collection of five pictures, two of which were saved again, one of them twice."""
    pictures = {photo.stem: photo.read_bytes() for photo in photos[:: ITEMS // 5][:5]}
    first, second = list(pictures)[:2]
    for name, original, quality in [("small", first, 70), ("large", first, 95), ("other", second, 80)]:
        saved = io.BytesIO()
        Image.open(io.BytesIO(pictures[original])).convert("RGB").save(saved, "JPEG", quality=quality)
        pictures[f"{original}-{name}"] = saved.getvalue()
    with Client(server.address) as client:
        client.catalogue.create_collection("copies")
        client.catalogue.upsert([NewItem(name, image=data) for name, data in pictures.items()], collection="copies")
        yield f"{first}  {first}-large  {first}-small\n{second}  {second}-other\n# 5 items in 2 groups\n"
        client.catalogue.delete_collection("copies")


def test_near_duplicates_are_grouped(server: Running, copies: str) -> None:
    said = example("near_duplicates.py", "--collection", "copies", "--threshold", "0.99", "--server", server.address)
    assert said == copies


@pytest.fixture(name="service")
async def _service(server: Running, search_service: ModuleType) -> AsyncIterator["TestClient[object, object]"]:
    app = search_service.make_app(server.address, 10.0)
    async with TestClient(TestServer(app)) as client:
        yield client  # type: ignore[misc]


async def test_the_service_searches_by_text_and_picture(
    service: "TestClient[object, object]", photos: list[Path]
) -> None:
    answer = await service.get("/search", params={"q": "a red dress", "k": "3", "filter": "price < 100"})
    found = await answer.json()
    assert answer.status == 200
    assert len(found["hits"]) == 3
    assert all(hit["metadata"]["price"] < 100 for hit in found["hits"])
    assert found["server_us"] > 0
    answer = await service.post("/search?k=1", data=photos[7].read_bytes())
    (hit,) = (await answer.json())["hits"]
    assert hit["id"] == photos[7].stem
    assert hit["score"] > 0.99


@pytest.mark.parametrize(
    ("parameters", "status", "reason"),
    [
        ({"q": " "}, 400, "TEXT_EMPTY"),
        ({"q": "x", "k": "many"}, 400, "K_NOT_A_NUMBER"),
        ({"q": "x", "k": "5000"}, 400, "TOP_K_OUT_OF_RANGE"),
        ({"q": "x", "filter": "price <"}, 400, "FILTER_MALFORMED"),
        ({}, 400, "IMAGE_EMPTY"),
    ],
)
async def test_the_service_says_whose_fault_it_is(
    service: "TestClient[object, object]", parameters: dict[str, str], status: int, reason: str
) -> None:
    answer = await service.get("/search", params=parameters)
    refusal = await answer.json()
    assert (answer.status, refusal["reason"]) == (status, reason)
    assert refusal["message"]


async def test_the_service_is_ready_when_the_server_is(service: "TestClient[object, object]") -> None:
    assert [(await service.get(path)).status for path in ("/livez", "/readyz")] == [200, 200]


async def test_without_a_server_the_service_lives_and_is_not_ready(search_service: ModuleType) -> None:
    app = search_service.make_app(f"127.0.0.1:{unused_port()}", 10.0)
    async with TestClient(TestServer(app)) as service:
        assert [(await service.get(path)).status for path in ("/livez", "/readyz")] == [200, 503]
        answer = await service.get("/search", params={"q": "a red dress"})
        assert (answer.status, (await answer.json())["reason"]) == (503, "UNAVAILABLE")


async def test_the_service_runs_until_a_signal(server: Running) -> None:
    port = unused_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "search_service.py"), "--server", server.address, "--port", str(port),
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert f":{port}" in (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/search?q=hat&k=2") as answer,
        ):
            assert len((await answer.json())["hits"]) == 2
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
