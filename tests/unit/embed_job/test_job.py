"""Jobs that stop half-way and go on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from clipsearch.embed_job.errors import EngineLost, JobChanged, JobRunning
from clipsearch.embed_job.outputs import ROWS_PER_GROUP
from clipsearch.embed_job.work import Progress, WorkDirectory
from tests.unit.embed_job.support import MODEL, HashEngine, embed_lines, made, vector_of

LINES = [f"line {n}" if n % 9 else "" for n in range(1, 101)]


class Stop(Exception):
    """An interruption."""


@pytest.fixture(name="source")
def _source(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("".join(line + "\n" for line in LINES))
    return path


def stop_after(items: int) -> "object":
    def report(progress: Progress) -> None:
        if progress.taken >= items:
            raise Stop

    return report


def interrupted(source: Path, out: Path, items: int, engine: HashEngine | None = None) -> None:
    with pytest.raises(Stop):
        embed_lines(source, out, engine or HashEngine(), stop_after(items))  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("stops", [[1], [50], [7, 14, 93], [98, 99], [100]])
def test_an_interrupted_job_makes_the_same_files(source: Path, tmp_path: Path, suffix: str, stops: list[int]) -> None:
    whole, parts = tmp_path / "whole" / f"x{suffix}", tmp_path / "parts" / f"x{suffix}"
    for out in (whole, parts):
        out.parent.mkdir()
    expected = embed_lines(source, whole, HashEngine())
    seen = []
    for stop in stops:
        engine = HashEngine()
        interrupted(source, parts, stop, engine)
        seen += engine.seen
    engine = HashEngine()
    assert embed_lines(source, parts, engine) == expected
    assert made(parts) == made(whole)
    assert [*seen, *engine.seen] == [str(n) for n in range(1, 101)], "an item was embedded twice, or not at all"


def test_what_a_dead_process_wrote_behind_its_last_note_does_not_count(source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.npy", tmp_path / "x.npy"
    embed_lines(source, whole, HashEngine())
    interrupted(source, out, 30)
    work = tmp_path / "x.npy.partial"
    for name in ("vectors.npy", "ids.jsonl", "rejects.jsonl"):
        with (work / name).open("ab") as file:
            file.write(b"half a row, or ten")
    embed_lines(source, out, HashEngine())
    assert out.read_bytes() == whole.read_bytes()
    for suffix in (".ids.jsonl", ".rejects.jsonl"):
        assert Path(f"{out}{suffix}").read_bytes() == Path(f"{whole}{suffix}").read_bytes()


def test_a_job_that_was_finished_but_not_put_in_place_embeds_nothing_again(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    interrupted(source, out, 100)
    with WorkDirectory(out) as work:
        progress = Progress(**json.loads((work.path / "progress.json").read_text()))
        work.note(replace(progress, finished=True))
    engine = HashEngine()
    embed_lines(source, out, engine)
    assert not engine.seen
    assert pyarrow.parquet.read_metadata(out).num_rows == sum(map(bool, LINES))


def test_rows_are_the_sources_in_its_order(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npy"
    embed_lines(source, out, HashEngine())
    good = [(str(n), text) for n, text in enumerate(LINES, 1) if text]
    np.testing.assert_array_equal(np.load(out), [vector_of(text) for _, text in good])
    ids = [json.loads(line)["id"] for line in Path(f"{out}.ids.jsonl").read_text().splitlines()]
    assert ids == [item_id for item_id, _ in good]


@pytest.mark.parametrize("edit", ["changed", "removed", "added", "shorter"])
def test_a_source_that_begins_otherwise_is_refused(source: Path, tmp_path: Path, edit: str) -> None:
    out = tmp_path / "x.npy"
    interrupted(source, out, 50)
    lines = list(LINES)
    if edit == "changed":
        lines[3] = "another text"
    elif edit == "removed":
        del lines[3]
    elif edit == "added":
        lines.insert(3, "a new one")
    else:
        del lines[20:]
    source.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(JobChanged, match="--restart"):
        embed_lines(source, out, HashEngine())
    with WorkDirectory(out) as work:
        work.forget()
    assert embed_lines(source, out, HashEngine()).taken == len(lines)


def test_what_was_not_embedded_yet_may_change_and_grow(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npy"
    interrupted(source, out, 50)
    lines = [*LINES[:90], "changed", "and", "more"]
    source.write_text("".join(line + "\n" for line in lines))
    embed_lines(source, out, HashEngine())
    np.testing.assert_array_equal(np.load(out), [vector_of(text) for text in lines if text])


@pytest.mark.parametrize(
    "model", [replace(MODEL, weight_hash="other"), replace(MODEL, precision="int8"), replace(MODEL, dimension=9)]
)
def test_another_model_is_refused(source: Path, tmp_path: Path, model: object) -> None:
    out = tmp_path / "x.npy"
    interrupted(source, out, 50)
    before = {path.name: path.read_bytes() for path in (tmp_path / "x.npy.partial").iterdir()}
    with pytest.raises(JobChanged, match=r"begun with model 0123456789ab .*--restart"):
        embed_lines(source, out, HashEngine(model))  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in (tmp_path / "x.npy.partial").iterdir()} == before


def test_two_at_once_are_refused(source: Path, tmp_path: Path) -> None:
    with WorkDirectory(tmp_path / "x.npy"), pytest.raises(JobRunning), WorkDirectory(tmp_path / "x.npy"):
        pass


def test_a_server_that_comes_back_is_gone_on_with(source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.npy", tmp_path / "x.npy"
    embed_lines(source, whole, HashEngine())
    engine = HashEngine(lost_after=30)
    embed_lines(source, out, engine)
    assert engine.recoveries == 3
    assert out.read_bytes() == whole.read_bytes()


def test_a_server_that_is_lost_at_the_same_item_again_ends_the_job(source: Path, tmp_path: Path) -> None:
    engine = HashEngine(lost_after=3)
    with pytest.raises(EngineLost):
        embed_lines(source, tmp_path / "x.npy", engine)
    assert not (tmp_path / "x.npy.partial").exists(), "nothing was embedded, so there is nothing to keep"


def test_nothing_is_left_of_a_finished_job(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    interrupted(source, out, 10)
    embed_lines(source, out, HashEngine())
    assert {path.name for path in tmp_path.iterdir()} == {"lines.txt", "x.parquet", "x.parquet.rejects.jsonl"}


def test_row_groups_do_not_tell_where_a_job_was_interrupted(tmp_path: Path) -> None:
    source, out = tmp_path / "lines.txt", tmp_path / "x.parquet"
    source.write_text("".join(f"{n}\n" for n in range(ROWS_PER_GROUP + 100)))
    interrupted(source, out, 5000, HashEngine(block=1000))
    embed_lines(source, out, HashEngine(block=999))
    metadata = pyarrow.parquet.read_metadata(out)
    assert [metadata.row_group(n).num_rows for n in range(2)] == [ROWS_PER_GROUP, 100]
    schema = pyarrow.parquet.read_schema(out)
    assert schema.metadata[b"clipsearch.weight_hash"] == MODEL.weight_hash.encode()
    assert str(schema.field("embedding").type) == "fixed_size_list<element: float>[8]"
