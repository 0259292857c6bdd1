"""The offline build, end to end: sources, joins, rejects, resuming after a kill, and the command itself."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.cli.index import index as command
from clipsearch.collection import open_collection
from clipsearch.encoders.load import Encoders
from clipsearch.errors import InvalidInput, UnusableIndex
from clipsearch.index.build import IndexOptions
from clipsearch.index.rules import Kind
from clipsearch.index.storage import open_index
from clipsearch.offline import Outcome, Request, build_with

from .tiny_build import DIMENSION, TinyTower, silent, tiny_encoders

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "demo/clipsearch_demo/model/bundle"


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((24, 24), Image.Resampling.NEAREST).save(path)


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def rejects(out: Path) -> dict[str, str]:
    lines = (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return {entry["path"]: entry["reason"] for entry in map(json.loads, lines)}


def run(request: Request, encoders: Encoders | None = None, kind: Kind = Kind.AUTO) -> Outcome:
    return build_with(encoders, request, IndexOptions(kind=kind, threads=1), silent)


def contents(out: Path) -> dict[str, dict[str, object]]:
    with CatalogueReader(out) as reader:
        rows = list(range(reader.count()))
        return dict(zip(reader.ids(rows), reader.metadata(rows), strict=True))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Twelve good pictures in two directories."""
    for i in range(12):
        draw(tmp_path / "shop" / ("shoes" if i % 2 else "bags") / f"{i:02}.png", i)
    return tmp_path / "shop"


def test_pictures_become_items_by_relative_path(shop: Path, tmp_path: Path) -> None:
    outcome = run(Request(shop, tmp_path / "out"), tiny_encoders())
    assert (outcome.tally.added, outcome.kept, outcome.rebuilt) == (12, 0, True)
    collection = open_collection(tmp_path / "out", "cpu", 1)
    row = collection.row_of("shoes/03.png")
    assert row is not None
    scores, rows = collection.index.search(collection.index.vectors(np.array([row])), 3)
    assert collection.ids(rows[0])[0] == "shoes/03.png" and scores[0, 0] == pytest.approx(1, abs=1e-3)
    assert collection.model_hash == "11" * 32
    collection.close()


def test_bad_pictures_are_listed_and_skipped(shop: Path, tmp_path: Path) -> None:
    good = (shop / "bags/00.png").read_bytes()
    (shop / "torn.png").write_bytes(good[: len(good) // 2])
    (shop / "empty.jpg").write_bytes(b"")
    (shop / "text.jpg").write_bytes(b"I am not a picture")
    (shop / "dangling.jpg").symlink_to(shop / "nowhere.jpg")
    (shop / "notes.txt").write_text("not taken for a picture at all")
    (shop / ".hidden.png").write_bytes(good)
    draw(shop / ".thumbnails" / "00.png", 0)
    outcome = run(Request(shop, tmp_path / "out"), tiny_encoders())
    assert outcome.tally.added == 12
    assert rejects(tmp_path / "out") == {
        "torn.png": "IMAGE_CORRUPT",
        "empty.jpg": "IMAGE_EMPTY",
        "text.jpg": "IMAGE_UNSUPPORTED_FORMAT",
        "dangling.jpg": "FILE_UNREADABLE",
    }
    assert sum(outcome.tally.rejected.values()) == 4


def test_metadata_joins_by_picture_and_by_id(shop: Path, tmp_path: Path) -> None:
    metadata = write_lines(
        tmp_path / "metadata.jsonl",  # beside the source: "shop/…" is relative to this file, "bags/…" to the source
        [
            {"id": "sku-0", "image": "bags/00.png", "title": "Größe 38", "price": 12.5},
            {"id": "sku-1", "image": "shop/shoes/01.png", "title": "裙子"},
            {"id": "bags/02.png", "title": "by path as id"},
            {"id": "shoes/03", "title": "by path without suffix"},
            {"image": "bags/04.png", "title": "without id"},
            {"id": "sku-9", "image": "bags/99.png"},
            {"id": "sku-8", "image": "bags/00.png", "title": "second row of one picture"},
            {"title": "neither"},
        ],
    )
    with metadata.open("a") as file:
        file.write("{broken\n\n[1]\n")
    outcome = run(Request(shop, tmp_path / "out", metadata=metadata), tiny_encoders())
    stored = contents(tmp_path / "out")
    assert stored["sku-0"] == {"image": "bags/00.png", "title": "Größe 38", "price": 12.5}
    assert stored["sku-1"]["title"] == "裙子"
    assert stored["bags/02.png"] == {"title": "by path as id"}
    assert stored["shoes/03"] == {"title": "by path without suffix"}
    assert stored["bags/04.png"]["title"] == "without id"
    assert stored["shoes/05.png"] == {}
    assert (outcome.tally.added, outcome.tally.without_metadata, outcome.tally.unmatched_metadata) == (12, 7, 1)
    assert rejects(tmp_path / "out") == {
        "metadata.jsonl:6": "METADATA_WITHOUT_PICTURE",
        "metadata.jsonl:7": "METADATA_DUPLICATE",
        "metadata.jsonl:8": "METADATA_NOT_USABLE",
        "metadata.jsonl:9": "METADATA_NOT_USABLE",
        "metadata.jsonl:11": "METADATA_NOT_USABLE",
    }


def test_csv_columns_have_types(shop: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "metadata.csv"
    metadata.write_text(
        "\ufeffimage,id,title,price,stock,sale,size\n"
        'bags/00.png,007,"a, ""quoted"" bag",12.50,3,true,42\n'
        "shoes/01.png,008,shoe,9,,false,M\n",
        encoding="utf-8",
    )
    run(Request(shop, tmp_path / "out", metadata=metadata), tiny_encoders())
    stored = contents(tmp_path / "out")
    assert stored["007"] == {
        "image": "bags/00.png",
        "title": 'a, "quoted" bag',
        "price": 12.5,
        "stock": 3,
        "sale": True,
        "size": "42",
    }
    assert stored["008"] == {"image": "shoes/01.png", "title": "shoe", "price": 9.0, "sale": False, "size": "M"}


def test_two_pictures_cannot_be_one_item(shop: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": "x", "image": "bags/00.png"}, {"id": "x", "image": "bags/02.png"}]
    outcome = run(Request(shop, tmp_path / "out", metadata=write_lines(tmp_path / "m.jsonl", rows)), tiny_encoders())
    assert outcome.tally.added == 11
    assert rejects(tmp_path / "out") == {"bags/02.png": "ID_DUPLICATE"}


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


def embedded(encoders: Encoders) -> int:
    assert isinstance(encoders.image, TinyTower)
    return encoders.image.embedded


def test_another_model_is_refused(shop: Path, tmp_path: Path) -> None:
    run(Request(shop, tmp_path / "out"), tiny_encoders())
    with pytest.raises(UnusableIndex, match=r"another model .* build into another directory"):
        run(Request(shop, tmp_path / "out"), tiny_encoders("22" * 32))
    assert open_index(tmp_path / "out", "cpu").manifest.size == 12


def test_a_damaged_index_is_built_again(shop: Path, tmp_path: Path) -> None:
    request = Request(shop, tmp_path / "out")
    run(request, tiny_encoders())
    vectors = open_index(tmp_path / "out", "cpu").path / "vectors.faiss"
    vectors.write_bytes(vectors.read_bytes()[:-2])
    with pytest.raises(UnusableIndex):
        open_index(tmp_path / "out", "cpu")
    assert run(request, tiny_encoders()).rebuilt
    assert open_index(tmp_path / "out", "cpu").manifest.size == 12


def test_texts_of_the_metadata_are_tuned_for(shop: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"image": f"bags/{i:02}.png", "title": f"A bag, number {i}"} for i in range(0, 12, 2)
    ]
    metadata = write_lines(tmp_path / "m.jsonl", rows)
    manifest = run(Request(shop, tmp_path / "out", metadata=metadata), tiny_encoders(), Kind.IVFPQ).manifest
    assert manifest.text_origin == "metadata"
    assert manifest.text_recall is not None and manifest.text_recall.queries == 3


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
        before = reader.count()
    encoders = tiny_encoders()
    request = Request(source, out, metadata=source / "metadata.jsonl")
    outcome = run(request, encoders, Kind.IVFPQ)
    assert embedded(encoders) == outcome.tally.added == 300 - before
    assert before == (0 if steps == 40 else 128 if stage == "embedding" else 300)
    assert contents(out) == {f"{i:03}.png": {"image": f"{i:03}.png", "n": i} for i in range(300)}
    assert open_index(out, "cpu").manifest.size == 300
    assert not list(out.glob(".building-*"))


def unit(n: int, d: int = DIMENSION) -> NDArray[np.float32]:
    vectors = np.random.default_rng(n).standard_normal((n, d)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def test_npy_with_metadata_in_order(tmp_path: Path) -> None:
    vectors = unit(20)
    vectors[3] = np.nan
    vectors[4] = 0
    vectors[5] *= 7
    vectors[6, 0] = np.inf
    np.save(tmp_path / "v.npy", vectors)
    rows: list[dict[str, object]] = [{"id": f"i{i}", "n": i} if i % 2 else {"n": i} for i in range(20)]
    rows[9]["id"] = "i7"
    request = Request(tmp_path / "v.npy", tmp_path / "out", metadata=write_lines(tmp_path / "m.jsonl", rows))
    outcome = run(request)
    assert (outcome.tally.added, outcome.tally.normalised) == (16, 1)
    assert rejects(tmp_path / "out") == {
        "v.npy:3": "VECTOR_NOT_USABLE",
        "v.npy:4": "VECTOR_NOT_USABLE",
        "v.npy:6": "VECTOR_NOT_USABLE",
        "v.npy:9": "ID_DUPLICATE",
    }
    assert contents(tmp_path / "out") == {
        (f"i{i}" if i % 2 else str(i)): {"n": i} for i in range(20) if i not in {3, 4, 6, 9}
    }
    loaded = open_index(tmp_path / "out", "cpu")
    five = [loaded.ids[row] for row in range(16)].index("i5")
    np.testing.assert_allclose(loaded.index.vectors(np.array([five]))[0], vectors[5] / 7, atol=1e-3)
    assert run(request).tally.unchanged == 16
    vectors[8] = vectors[10]
    np.save(tmp_path / "v.npy", vectors)
    assert run(request).tally.updated == 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.float32), "not floats"),
        (np.zeros((3, 4), np.int64), "not floats"),
        (np.zeros((0, 4), np.float32), "no usable item"),
        (np.zeros((3, 4), np.float32), "no usable item"),
    ],
)
def test_arrays_that_make_no_sense(tmp_path: Path, array: NDArray[np.float32], message: str) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(InvalidInput, match=message):
        run(Request(tmp_path / "v.npy", tmp_path / "out"))


def test_npy_and_metadata_of_different_length(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit(3))
    metadata = tmp_path / "m.csv"
    metadata.write_text("id\na\nb\n")
    with pytest.raises(InvalidInput, match=r"m\.csv has 2 rows, but .*v\.npy has 3"):
        run(Request(tmp_path / "v.npy", tmp_path / "out", metadata=metadata))


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_parquet_columns_become_metadata(tmp_path: Path, fixed: bool, kind: pa.DataType) -> None:
    vectors: list[object] = [row.astype(kind.to_pandas_dtype()) for row in unit(6)]
    vectors[1] = None
    vectors[2] = np.full(DIMENSION, np.nan, kind.to_pandas_dtype())
    if not fixed:
        vectors[3] = np.ones(3, kind.to_pandas_dtype())
    table = pa.table(
        {
            "id": pa.array(["a", "b", "c", "d", None, "f"]),
            "embedding": pa.array(vectors, pa.list_(kind, DIMENSION) if fixed else pa.list_(kind)),
            "price": [1.5, 2.5, None, 4.5, 5.5, 6.5],
            "made": pa.array([0, 1, 2, 3, 4, 5], pa.date32()),
            "tags": [["x"], [], None, ["y"], [], ["z", "ü"]],
        }
    )
    pq.write_table(table, tmp_path / "v.parquet")
    metadata = write_lines(tmp_path / "m.jsonl", [{"id": "f", "price": 9, "title": "more"}, {"id": "z"}])
    outcome = run(Request(tmp_path / "v.parquet", tmp_path / "out", metadata=metadata))
    stored = contents(tmp_path / "out")
    assert stored["a"] == {"price": 1.5, "made": "1970-01-01", "tags": ["x"]}
    assert stored["f"] == {"price": 9, "made": "1970-01-06", "tags": ["z", "ü"], "title": "more"}
    assert set(stored) == ({"a", "d", "f"} if fixed else {"a", "f"})
    wanted = {
        "v.parquet:1": "VECTOR_MISSING",
        "v.parquet:2": "VECTOR_NOT_USABLE",
        "v.parquet:4": "ID_NOT_USABLE",
        "m.jsonl:2": "METADATA_WITHOUT_VECTOR",
    }
    assert rejects(tmp_path / "out") == wanted | ({} if fixed else {"v.parquet:3": "VECTOR_WRONG_DIMENSION"})
    assert outcome.tally.unmatched_metadata == 1


def test_parquet_without_the_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "vector": [[1.0]]}), tmp_path / "v.parquet")
    with pytest.raises(InvalidInput, match="no column embedding"):
        run(Request(tmp_path / "v.parquet", tmp_path / "out"))
    pq.write_table(pa.table({"id": ["a"], "embedding": ["x"]}), tmp_path / "v.parquet")
    with pytest.raises(InvalidInput, match="not lists of floats"):
        run(Request(tmp_path / "v.parquet", tmp_path / "out"))


def test_sources_that_cannot_be(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs --bundle"):
        run(Request(shop, tmp_path / "out"))
    with pytest.raises(InvalidInput, match="neither a directory of pictures"):
        run(Request(shop / "bags/00.png", tmp_path / "out"))
    np.save(tmp_path / "v.npy", unit(3, 5))
    with pytest.raises(UnusableIndex, match="dimension 5, the bundle makes 16"):
        run(Request(tmp_path / "v.npy", tmp_path / "out"), tiny_encoders())


def test_the_command_builds_and_describes(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit(900))
    np.save(tmp_path / "t.npy", unit(40) * 3)
    out = str(tmp_path / "out")
    arguments = [
        "build",
        str(tmp_path / "v.npy"),
        "--out",
        out,
        "--kind",
        "ivfpq",
        "--text-queries",
        str(tmp_path / "t.npy"),
    ]
    built = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert built.exit_code == 0
    assert "900 items added" in built.stdout and "picture queries: recall@10" in built.stdout
    again = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "900 unchanged" in again.stdout and "was up to date" in again.stdout
    shown = CliRunner().invoke(command, ["info", out], catch_exceptions=False)
    for word in ("nlist", "nprobe", "overfetch", "bytes per item", "recall, pictures", "recall, texts", "t.npy"):
        assert word in shown.stdout
    described = json.loads(CliRunner().invoke(command, ["info", out, "--json"], catch_exceptions=False).stdout)
    assert described["size"] == 900 and described["text_recall"]["queries"] == 20


def test_the_command_fails_with_a_sentence(shop: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "clipsearch", "index"]
    for arguments, message in (
        (["build", str(shop), "--out", str(tmp_path / "out")], "needs --bundle"),
        (["info", str(shop)], "holds no index"),
    ):
        failed = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
        assert failed.returncode == 1 and message in failed.stderr and "Traceback" not in failed.stderr


def test_a_real_bundle_finds_its_own_pictures(shop: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"image": path.relative_to(shop).as_posix(), "title": f"a {path.parent.name} of kind {path.stem}"}
        for path in sorted(shop.rglob("*.png"))
    ]
    metadata = str(write_lines(tmp_path / "m.jsonl", rows))
    out = tmp_path / "out"
    arguments = [
        "build",
        str(shop),
        "--bundle",
        str(BUNDLE),
        "--metadata",
        metadata,
        "--out",
        str(out),
        "--kind",
        "ivfpq",
    ]
    built = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert built.exit_code == 0, built.output
    loaded = open_index(out, "cpu")
    assert loaded.manifest.text_origin == "metadata" and loaded.manifest.text_recall is not None
    found = loaded.index.search(loaded.index.vectors(np.arange(12)), 1)[1]
    assert found[:, 0].tolist() == list(range(12))
