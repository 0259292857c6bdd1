"""Directories of pictures: ids, metadata joins, what is left out, and tuning with texts."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clipsearch.cli.index import index as command
from clipsearch.index.rules import Kind
from clipsearch.index.storage import open_index
from clipsearch.offline import Request

from .build_support import contents, draw, opened, rejects, run, write_lines
from .support import SAMPLE_BUNDLE
from .tiny_build import tiny_encoders


def test_pictures_become_items_by_relative_path(shop: Path, tmp_path: Path) -> None:
    outcome = run(Request(shop, tmp_path / "out"), tiny_encoders())
    assert (outcome.tally.added, outcome.kept, outcome.rebuilt) == (12, 0, True)
    with opened(tmp_path / "out") as collection:
        stored = collection.reader.get("shoes/03.png")
        assert stored is not None
        scores, rows = collection.view.search(collection.view.vectors(np.array([stored.row])), 3)
        assert collection.ids(rows[0])[0] == "shoes/03.png" and scores[0, 0] == pytest.approx(1, abs=1e-3)
        assert collection.reader.model_hash == "11" * 32


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


def test_texts_of_the_metadata_are_tuned_for(shop: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"image": f"bags/{i:02}.png", "title": f"A bag, number {i}"} for i in range(0, 12, 2)
    ]
    metadata = write_lines(tmp_path / "m.jsonl", rows)
    manifest = run(Request(shop, tmp_path / "out", metadata=metadata), tiny_encoders(), Kind.IVFPQ).manifest
    assert manifest.text_origin == "metadata"
    assert manifest.text_recall is not None and manifest.text_recall.queries == 3


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
        str(SAMPLE_BUNDLE),
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
