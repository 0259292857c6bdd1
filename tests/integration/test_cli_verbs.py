"""The verbs search and embed against the real server, and embed in process."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from benchmarks.harness.process import free_port
from clipsearch.cli.shell import shell
from clipsearch.client import Client
from tests.integration.support import ITEMS, SAMPLE_BUNDLE, Running


def run(*arguments: object) -> Result:
    return CliRunner().invoke(shell, [str(argument) for argument in arguments])


def read(path: Path) -> tuple[list[str], np.ndarray]:
    table = pyarrow.parquet.read_table(path)
    column = table.column("embedding").combine_chunks()
    return table.column("id").to_pylist(), column.flatten().to_numpy().reshape(len(table), -1)


@pytest.fixture(name="pictures")
def _pictures(catalogue: Path, tmp_path: Path) -> Path:
    """The catalogue's pictures and three that are none."""
    directory = tmp_path / "pictures"
    directory.mkdir()
    for path in (catalogue / "images").rglob("*"):
        if path.is_file():
            (directory / path.name).write_bytes(path.read_bytes())
    (directory / "empty.jpg").touch()
    (directory / "text.png").write_text("no picture")
    (directory / "cut.png").write_bytes(next(directory.glob("*")).read_bytes()[:40])
    return directory


def test_search(server: Running) -> None:
    result = run("search", "a red dress", "--server", server.address, "--top-k", 3, "--json")
    assert result.exit_code == 0, result.output
    plain = json.loads(result.stdout)
    assert len(plain["hits"]) == 3
    assert plain["hits"][0]["metadata"]["title"]
    table = run("search", "--id", plain["hits"][0]["id"], "--server", server.address)
    assert table.exit_code == 0, table.output
    assert plain["hits"][0]["id"] in table.stdout
    assert "ms in the server" in table.stdout


def test_health(server: Running) -> None:
    assert run("health", "--server", server.address).exit_code == 0
    assert run("health", "--server", server.address, "--wait", 5).exit_code == 0
    nobody = f"127.0.0.1:{free_port()}"
    for more in ((), ("--wait", 0.3)):
        result = run("health", "--server", nobody, *more)
        assert result.exit_code == 1
        assert f"{nobody} does not serve" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--id", "nobody"), "NOT_FOUND (ITEM_NOT_FOUND): "),
        (("a", "--top-k", 51), "INVALID_ARGUMENT (TOP_K_OUT_OF_RANGE): "),
    ],
)
def test_search_that_fails(server: Running, arguments: tuple[object, ...], sentence: str) -> None:
    result = run("search", *arguments, "--server", server.address)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {sentence}")
    assert len(result.stderr.splitlines()) == 1


def test_embed_gives_the_same_through_a_server_and_in_process(server: Running, pictures: Path, tmp_path: Path) -> None:
    served, local = tmp_path / "served.parquet", tmp_path / "local.parquet"
    for out, where in ((served, ("--server", server.address)), (local, ("--bundle", SAMPLE_BUNDLE))):
        result = run("embed", pictures, "--out", out, *where)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"Embedded {ITEMS} items into {out} (")
        rejects = [json.loads(line) for line in out.with_name(out.name + ".rejects.jsonl").read_text().splitlines()]
        assert {reject["id"]: reject["reason"] for reject in rejects} == {
            "cut.png": "IMAGE_CORRUPT",
            "empty.jpg": "IMAGE_EMPTY",
            "text.png": "IMAGE_UNSUPPORTED_FORMAT",
        }
    ids, vectors = read(served)
    same_ids, same_vectors = read(local)
    assert ids == same_ids == sorted(ids)
    assert (vectors * same_vectors).sum(axis=1).min() == pytest.approx(1, abs=1e-3)
    with Client(server.address) as client:
        weight_hash = client.model().weight_hash
    for out in (served, local):
        assert pyarrow.parquet.read_schema(out).metadata[b"clipsearch.weight_hash"].decode() == weight_hash


def test_embedded_lines_can_be_indexed_with_their_ids(server: Running, tmp_path: Path) -> None:
    lines, out = tmp_path / "lines.txt", tmp_path / "lines.npy"
    lines.write_text("".join(f"product {i} in {'red' if i % 2 else 'blue'}\n" for i in range(600)) + "\n")
    for where in (("--server", server.address), ("--bundle", SAMPLE_BUNDLE)):
        result = run("embed", lines, "--out", out, *where)
        assert result.exit_code == 0, result.output
        assert np.load(out).shape[0] == 600
    with Client(server.address) as client:
        assert np.load(out)[41] @ client.embed_text("product 41 in red").vector == pytest.approx(1, abs=1e-3)
    built = run("index", "build", out, "--metadata", f"{out}.ids.jsonl", "--out", tmp_path / "index")
    assert built.exit_code == 0, built.output
    assert "600 items added" in built.output
