"""``clipsearch embed`` through a server, and the files that it reads and writes."""

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from clipsearch.cli.shell import shell
from clipsearch.embed_job.sources import open_lines
from tests.fetch_server import FetchServer
from tests.unit.client.fake_server import DIMENSION, Fake, vector_of


def embed(fake: Fake, source: Path | str, out: Path, arguments: Sequence[str] = (), **options: object) -> Result:
    command = ["embed", str(source), "--out", str(out), "--server", fake.target, *arguments]
    return CliRunner().invoke(shell, command, **options)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    (root / "b").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for name in ("c.jpg", "a.png", "b/z.webp", "notes.txt", ".hidden/x.png"):
        (root / name).write_bytes(name.encode())
    return root


def read(path: Path) -> tuple[list[str], np.ndarray]:
    table = pyarrow.parquet.read_table(path)
    vectors = table.column("embedding").combine_chunks().flatten().to_numpy().reshape(-1, DIMENSION)
    return table.column("id").to_pylist(), vectors


def test_pictures_to_parquet(fake: Fake, pictures: Path, tmp_path: Path) -> None:
    fake.stream_group = 2  # answers out of order; the file is in order all the same
    out = tmp_path / "out.parquet"
    result = embed(fake, pictures, out)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Embedded 3 items into {out} (")
    ids, vectors = read(out)
    assert ids == ["a.png", "b/z.webp", "c.jpg"]
    np.testing.assert_allclose(vectors, [vector_of(name.encode()) for name in ids], rtol=1e-6)
    schema = pyarrow.parquet.read_schema(out)
    assert str(schema.field("embedding").type) == f"fixed_size_list<element: float>[{DIMENSION}]"
    assert schema.metadata[b"clipsearch.weight_hash"] == b"abc"
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "out.parquet"}


def test_lines_to_npy_with_ids_and_rejects(fake: Fake, tmp_path: Path) -> None:
    source, out = tmp_path / "lines.txt", tmp_path / "out.npy"
    source.write_bytes("first\r\n\nthird é\n\xff".encode("latin-1") + "é\nlast".encode())
    result = embed(fake, source, out)
    assert result.exit_code == 0, result.output
    vectors = np.load(out)
    assert (vectors.dtype, vectors.shape) == (np.float32, (2, DIMENSION))
    np.testing.assert_allclose(vectors, [vector_of(b"first"), vector_of(b"last")], rtol=1e-6)
    ids = [json.loads(line) for line in (tmp_path / "out.npy.ids.jsonl").read_text().splitlines()]
    assert ids == [{"id": "1"}, {"id": "5"}]
    rejects = [json.loads(line) for line in (tmp_path / "out.npy.rejects.jsonl").read_text().splitlines()]
    assert {reject["id"]: reject["reason"] for reject in rejects} == {
        "2": "TEXT_EMPTY",
        "3": "TEXT_NOT_UTF8",
        "4": "TEXT_NOT_UTF8",
    }
    assert all(reject["message"] for reject in rejects)
    assert "; 3 left out, listed in " in result.stdout


def test_standard_input(fake: Fake, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    result = embed(fake, "-", out, input="one\ntwo\n")
    assert result.exit_code == 0, result.output
    assert read(out)[0] == ["1", "2"]


def test_a_pipe_is_read_once(fake: Fake, tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out.parquet"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("one\ntwo\n",))
    writer.start()
    result = embed(fake, pipe, out)
    writer.join()
    assert result.exit_code == 0, result.output
    assert read(out)[0] == ["1", "2"]


def test_a_column_of_urls_and_what_can_be_said_against_it(fake: Fake, tmp_path: Path) -> None:
    out, table = tmp_path / "out.parquet", tmp_path / "shop.csv"
    with FetchServer({"/a.jpg": b"a", "/b.jpg": b"b"}) as server:
        rows = [("x", "/a.jpg"), ("y", "/status/404"), ("z", "/b.jpg")]
        table.write_text("sku,picture\n" + "".join(f"{sku},{server.url(path)}\n" for sku, path in rows))
        arguments = ["--column", "picture", "--id-column", "sku"]
        refused = embed(fake, table, out, arguments)
        assert refused.exit_code == 1
        assert "nothing was embedded; 3 left out" in refused.stderr
        assert "FORBIDDEN_ADDRESS" in (tmp_path / "out.parquet.rejects.jsonl").read_text()
        result = embed(fake, table, out, [*arguments, "--allow-private"])
    assert result.exit_code == 0, result.output
    ids, vectors = read(out)
    assert ids == ["x", "z"]
    np.testing.assert_allclose(vectors, [vector_of(b"a"), vector_of(b"b")], rtol=1e-6)
    rejects = [json.loads(line) for line in (tmp_path / "out.parquet.rejects.jsonl").read_text().splitlines()]
    assert [(reject["id"], reject["reason"]) for reject in rejects] == [("y", "HTTP_STATUS")]


def test_columns_are_for_tables(fake: Fake, tmp_path: Path) -> None:
    source, table = tmp_path / "lines.txt", tmp_path / "t.csv"
    source.write_text("a\n")
    table.write_text("id,title\n1,x\n")
    wrong = embed(fake, source, tmp_path / "out.npy", ["--column", "title"])
    assert (wrong.exit_code, "--column and --id-column are for .csv" in wrong.stderr) == (2, True)
    missing = embed(fake, table, tmp_path / "out.npy")
    assert missing.exit_code == 1
    assert "--column" in missing.stderr
    assert "id, title" in missing.stderr


def test_a_changed_source_is_refused_until_told_to_begin_anew(fake: Fake, tmp_path: Path) -> None:
    source, out = tmp_path / "lines.txt", tmp_path / "out.npy"
    source.write_text("a\nb\nc\n")
    fake.stream_fails_after = 2
    assert embed(fake, "-", out, input=source.read_text()).exit_code == 1
    fake.stream_fails_after = None
    refused = embed(fake, "-", out, input="a\nother\nc\n")
    assert refused.exit_code == 1
    assert "--restart begins anew" in refused.stderr
    result = embed(fake, "-", out, ["--restart"], input="a\nother\nc\n")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(np.load(out), [vector_of(text) for text in (b"a", b"other", b"c")], rtol=1e-6)


def test_nothing_embedded(fake: Fake, tmp_path: Path) -> None:
    source, out = tmp_path / "lines.txt", tmp_path / "out.parquet"
    source.write_text("\n \n")
    out.write_bytes(b"an earlier run's")
    result = embed(fake, source, out)
    assert result.exit_code == 1
    assert "Error: nothing was embedded; 2 left out, listed in" in result.stderr
    assert out.read_bytes() == b"an earlier run's"


def test_broken_stream_is_continued_by_the_same_command(fake: Fake, tmp_path: Path) -> None:
    fake.stream_fails_after = 2
    source, out = tmp_path / "lines.txt", tmp_path / "out.npy"
    source.write_text("a\n\nb\nc\n")
    out.write_bytes(b"an earlier run's")
    result = embed(fake, "-", out, input=source.read_text())
    assert result.exit_code == 1
    assert "Error: the server went away" in result.stderr
    assert f"2 items are kept in {out}.partial; the same command goes on from there" in result.stderr
    assert out.read_bytes() == b"an earlier run's"

    fake.stream_fails_after = None
    result = embed(fake, "-", out, input=source.read_text())
    assert result.exit_code == 0, result.output
    assert "2 items were embedded by an earlier run" in result.stderr
    assert result.stdout.startswith(f"Embedded 3 items into {out} (")
    np.testing.assert_allclose(np.load(out), [vector_of(text) for text in (b"a", b"b", b"c")], rtol=1e-6)
    assert len((tmp_path / "out.npy.rejects.jsonl").read_text().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {
        *("lines.txt", "out.npy", "out.npy.ids.jsonl", "out.npy.rejects.jsonl"),
    }


def test_old_rejects_are_not_kept(fake: Fake, tmp_path: Path) -> None:
    source, out = tmp_path / "lines.txt", tmp_path / "out.npy"
    source.write_text("a\n\n")
    rejects = tmp_path / "out.npy.rejects.jsonl"
    assert embed(fake, source, out).exit_code == 0
    assert rejects.exists()
    source.write_text("a\n")
    assert embed(fake, source, out).exit_code == 0
    assert not rejects.exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [("out.csv", "must end in .parquet or .npy"), ("missing/out.npy", "directory does not exist")],
)
def test_outputs_that_cannot_be(fake: Fake, tmp_path: Path, out: str, message: str) -> None:
    source = tmp_path / "lines.txt"
    source.write_text("a\n")
    result = embed(fake, source, tmp_path / out)
    assert result.exit_code == 1
    assert message in result.stderr
    assert fake.requests == []


def test_directory_without_pictures(fake: Fake, tmp_path: Path) -> None:
    result = embed(fake, tmp_path, tmp_path / "out.npy")
    assert (result.exit_code, result.stderr) == (1, f"Error: there are no pictures in {tmp_path}\n")


def test_server_or_bundle(fake: Fake, tmp_path: Path) -> None:
    arguments = ["embed", "-", "--out", "x.npy", "--server", "a:1", "--bundle", str(tmp_path)]
    result = CliRunner().invoke(shell, arguments)
    assert result.exit_code == 2
    assert "not both" in result.stderr


def test_totals_of_text_files(tmp_path: Path) -> None:
    for text, lines in (("", 0), ("a", 1), ("a\n", 1), ("a\n\nb", 3)):
        path = tmp_path / "lines.txt"
        path.write_text(text)
        source = open_lines(path, "text")
        assert source.total == lines
        assert len(list(source.items())) == lines
