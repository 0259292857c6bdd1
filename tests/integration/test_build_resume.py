"""A second run: what is passed over, what is updated, and going on after a kill or after damage."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipsearch.catalogue.mutations import Delete
from clipsearch.catalogue.reader import CatalogueReader, Counts
from clipsearch.catalogue.schema import FILE
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.encoders.load import Encoders
from clipsearch.errors import UnusableIndex
from clipsearch.index.rules import Kind
from clipsearch.index.storage import open_index
from clipsearch.offline import Request
from clipsearch.verification import verify
from tests.unit.catalogue.support import flip_embedding

from .build_support import ROOT, contents, draw, opened, rejects, run, write_lines
from .tiny_build import DIMENSION, TinyTower, tiny_encoders


def test_a_second_run_does_only_what_is_new(shop: Path, tmp_path: Path) -> None:
    request = Request(shop, tmp_path / "out")
    run(request, tiny_encoders())
    encoders = tiny_encoders()
    again = run(request, encoders)
    assert (again.tally.unchanged, again.rebuilt, embedded(encoders)) == (12, False, 0)
    draw(shop / "bags/00.png", 99)
    draw(shop / "bags/new.png", 100)
    (shop / "shoes/01.png").unlink()
    third = run(request, encoders)
    assert (third.tally.added, third.tally.updated, third.tally.unchanged, third.kept) == (1, 1, 10, 1)
    assert third.rebuilt and embedded(encoders) == 2
    metadata = write_lines(tmp_path / "m.jsonl", [{"image": "bags/00.png", "title": "new"}])
    fourth = run(Request(shop, tmp_path / "out", metadata=metadata), encoders)
    assert (fourth.tally.updated, fourth.tally.unchanged, embedded(encoders)) == (1, 11, 2)
    assert contents(tmp_path / "out")["bags/00.png"] == {"image": "bags/00.png", "title": "new"}


def test_a_changed_item_becomes_a_new_row_and_the_index_holds_only_live_ones(shop: Path, tmp_path: Path) -> None:
    request = Request(shop, tmp_path / "out")
    run(request, tiny_encoders())
    draw(shop / "bags/00.png", 99)
    assert run(request, tiny_encoders()).rebuilt
    with CatalogueReader(tmp_path / "out") as reader:
        stored = reader.get("bags/00.png")
        assert stored is not None
        assert (stored.row, reader.counts()) == (12, Counts(live=12, tombstones=1))
    loaded = open_index(tmp_path / "out", "cpu")
    assert loaded.rows.tolist() == list(range(1, 13))
    with opened(tmp_path / "out") as collection:
        assert collection.ids(np.array([12, 1])) == ["bags/00.png", "bags/02.png"]
    assert verify(tmp_path / "out").ok


def test_a_rerun_over_an_unchanged_source_writes_nothing(shop: Path, tmp_path: Path) -> None:
    request = Request(shop, tmp_path / "out", metadata=write_lines(tmp_path / "m.jsonl", [{"image": "bags/00.png"}]))
    run(request, tiny_encoders())
    before = (tmp_path / "out" / FILE).read_bytes()
    assert not run(request, tiny_encoders()).rebuilt
    assert (tmp_path / "out" / FILE).read_bytes() == before


def test_a_damaged_embedding_is_left_out_and_cured_by_the_next_run(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    request = Request(shop, out)
    run(request, tiny_encoders())
    flip_embedding(out, row=3)
    with CatalogueWriter(out, DIMENSION, "11" * 32) as writer:  # a change, so that the index is built again
        writer.apply([Delete(["shoes/01.png"])])
    (shop / "shoes/01.png").unlink()
    with CatalogueReader(out) as reader:
        damaged = reader.ids([3])[0]
    (shop / damaged).rename(tmp_path / "away.png")
    assert run(request, tiny_encoders()).manifest.size == 10
    assert rejects(out) == {damaged: "EMBEDDING_DAMAGED"}
    assert verify(out).damaged == (damaged,)
    (tmp_path / "away.png").rename(shop / damaged)
    encoders = tiny_encoders()
    cured = run(request, encoders)
    assert (cured.tally.updated, cured.tally.unchanged, embedded(encoders), cured.manifest.size) == (1, 10, 1, 11)
    assert rejects(out) == {}


def embedded(encoders: Encoders) -> int:
    assert isinstance(encoders.image, TinyTower)
    return encoders.image.embedded


def test_a_damaged_index_is_built_again(shop: Path, tmp_path: Path) -> None:
    request = Request(shop, tmp_path / "out")
    run(request, tiny_encoders())
    vectors = open_index(tmp_path / "out", "cpu").path / "vectors.faiss"
    vectors.write_bytes(vectors.read_bytes()[:-2])
    with pytest.raises(UnusableIndex):
        open_index(tmp_path / "out", "cpu")
    assert run(request, tiny_encoders()).rebuilt
    assert open_index(tmp_path / "out", "cpu").manifest.size == 12


@pytest.mark.parametrize(("stage", "steps"), [("embedding", 40), ("embedding", 250), ("training", 3), ("tuning", 2)])
def test_a_killed_build_continues(tmp_path: Path, stage: str, steps: int) -> None:
    source, out = tmp_path / "shop", tmp_path / "out"
    for i in range(300):
        draw(source / f"{i:03}.png", i)
    (source / "bad.png").write_bytes(b"bad")
    write_lines(source / "metadata.jsonl", [{"image": f"{i:03}.png", "n": i} for i in range(300)])
    program = [sys.executable, "-m", "tests.integration.tiny_build", str(source), str(out), stage, str(steps)]
    killed = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with CatalogueReader(out) as reader:
        before = reader.counts().live
    encoders = tiny_encoders()
    request = Request(source, out, metadata=source / "metadata.jsonl")
    outcome = run(request, encoders, Kind.IVFPQ)
    assert embedded(encoders) == outcome.tally.added == 300 - before
    assert before == (0 if steps == 40 else 128 if stage == "embedding" else 300)
    assert contents(out) == {f"{i:03}.png": {"image": f"{i:03}.png", "n": i} for i in range(300)}
    assert open_index(out, "cpu").manifest.size == 300
    assert not list(out.glob(".building-*"))
