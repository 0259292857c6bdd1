"""What a job reads: directories, lines, and columns of tables."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from clipsearch.embed_job.items import Item, Problem, Url
from clipsearch.embed_job.listing import Listing
from clipsearch.embed_job.loading import Loader
from clipsearch.embed_job.sources import open_directory, open_lines
from clipsearch.embed_job.tables import Column, open_column
from clipsearch.errors import InvalidInput
from clipsearch.fetch import FetchLimits
from clipsearch.services.build_pictures import find_pictures
from tests.fetch_server import FetchServer

ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "a cap", "image": "caps/a.jpg"},
    {"id": "b", "text": "two, three", "image": "http://shop.test/b"},
    {"id": "c", "text": "line\nbreak", "image": ""},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the name asks for."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        comma = "\t" if path.suffix == ".tsv" else ","
        lines = [
            comma.join(f'"{value}"' for value in row.values())
            for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]
        ]
        path.write_text("\n".join(lines) + "\n")
    return path


def problems(items: list[Item]) -> list[str]:
    return [item.content.reason for item in items if isinstance(item.content, Problem)]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_texts_of_a_column(tmp_path: Path, suffix: str) -> None:
    source = open_column(write(tmp_path / f"t{suffix}", ROWS), "text", None, None)
    assert (source.kind, source.total) == ("text", 3)
    assert [(item.id, item.content) for item in source.items()] == [(row["id"], row["text"]) for row in ROWS]
    assert list(source.items()) == list(source.items())


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_pictures_that_a_column_names(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "caps").mkdir()
    (tmp_path / "caps/a.jpg").write_bytes(b"jpeg")
    source = open_column(write(tmp_path / f"t{suffix}", ROWS), "image", None, None)
    assert source.kind == "image"
    file, url, empty = source.items()
    assert (file.id, file.content) == ("a", tmp_path / "caps/a.jpg")
    assert url.content == Url("http://shop.test/b")
    assert problems([empty]) == ["VALUE_MISSING"]


def test_the_ids_column_can_be_named_and_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ROWS)
    assert [item.id for item in open_column(path, "text", "image", None).items()][:2] == [
        "caps/a.jpg",
        ROWS[1]["image"],
    ]
    for column, id_column in (("nope", None), ("text", "nope")):
        with pytest.raises(InvalidInput, match=r"no column 'nope'; .* has the columns id, text, image"):
            open_column(path, column, id_column, None)
    with pytest.raises(InvalidInput, match=r"--column; .* has the columns id, text, image"):
        open_column(path, None, None, None)


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": "x"}, {"text": "y"}])
    assert [item.id for item in open_column(path, "text", None, None).items()] == ["1", "2"]


def test_a_bad_row_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        b'{"id": "a", "text": "x"}\n\n{"id": \n[1]\n{"id": 7, "text": "y"}\n{"id": "b", "text": null}\n'
        b'{"id": "c", "text": 5}\n{"text": "no id"}\n{"id": "d", "text": "\\ud800"}\n{"id": "e", "text": "z"}\n'
    )
    items = list(open_column(path, "text", None, None).items())
    assert [item.id for item in items if not isinstance(item.content, Problem)] == ["a", "7", "e"]
    assert problems(items) == [
        *("ROW_NOT_USABLE", "ROW_NOT_USABLE", "VALUE_MISSING", "VALUE_NOT_TEXT", "ID_NOT_USABLE", "TEXT_NOT_UTF8")
    ]


def test_a_csv_cell_that_is_not_utf8_costs_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffid,text\na,Schuhe für Kinder\n".encode() + b"b,f\xfcr\nc,good,too,many\n")
    items = list(open_column(path, "text", None, None).items())
    assert [item.content for item in items if not isinstance(item.content, Problem)] == ["Schuhe für Kinder", "good"]
    assert problems(items) == ["TEXT_NOT_UTF8"]


@pytest.mark.parametrize("nested", [False, True])
def test_pictures_inside_parquet(tmp_path: Path, nested: bool) -> None:
    rows = [{"image": {"bytes": b"one", "path": None} if nested else b"one"}, {"image": None}]
    source = open_column(write(tmp_path / "t.parquet", rows), "image", None, None)
    assert source.kind == "image"
    first, second = source.items()
    assert first.content == b"one"
    assert problems([second]) == ["VALUE_MISSING"]


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"text")
    with pytest.raises(InvalidInput, match="not a readable Parquet file"):
        open_column(path, "text", None, None)


def test_kind_wins_over_what_values_look_like(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [{"text": "http://shop.test/a is our page"}, {"text": "b.jpg"}])
    source = open_column(path, "text", None, "text")
    assert [item.content for item in source.items()] == ["http://shop.test/a is our page", "b.jpg"]


def test_lines_may_name_pictures(tmp_path: Path) -> None:
    path = tmp_path / "urls.txt"
    path.write_text("http://shop.test/a.jpg\nmissing.jpg\n")
    url, missing = open_lines(path, "image").items()
    assert url.content == Url("http://shop.test/a.jpg")
    assert problems([missing]) == ["FILE_UNREADABLE"]


def test_a_listing_is_sorted_as_a_whole_though_in_runs(tmp_path: Path) -> None:
    root, scratch = tmp_path / "root", tmp_path / "scratch"
    scratch.mkdir()
    for name in (
        "b/z.jpg",
        "b-c/a.png",
        "b/a.jpg",
        "a.webp",
        "ü.jpg",
        "b/line\nbreak.jpg",
        "Z.JPG",
        ".x/a.jpg",
        "n.txt",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "loop").symlink_to(root)
    for run in (1, 2, 100):
        listing = Listing(root, scratch, run)
        assert list(listing) == find_pictures(root)
        assert listing.count == 7
    assert [path.name for path in scratch.iterdir()] == ["listing"]


def test_a_picture_that_was_touched_has_another_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    scratch = tmp_path / ".scratch"
    scratch.mkdir()
    before = list(open_directory(tmp_path, scratch).items())
    assert list(open_directory(tmp_path, scratch).items()) == before
    os.utime(path, (1, 1))
    assert list(open_directory(tmp_path, scratch).items()) != before


def test_loading_keeps_the_order_and_puts_problems_in_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"file")
    with FetchServer({"/b.jpg": b"download"}) as server:
        rows = [
            {"image": value}
            for value in (
                "a.jpg",
                server.url("/b.jpg"),
                server.url("/status/404"),
                "gone.jpg",
                "ftp://x/y.jpg",
                server.url("/b.jpg"),
            )
        ] * 40
        path = write(tmp_path / "t.jsonl", rows)
        with Loader(FetchLimits(allow_private=True, concurrency=4)) as loader:
            items = list(loader.loaded(open_column(path, "image", None, None).items()))
    assert [item.id for item in items] == [str(n) for n in range(1, 241)]
    told = [item.content.reason if isinstance(item.content, Problem) else item.content for item in items]
    assert told == [b"file", b"download", "HTTP_STATUS", "FILE_UNREADABLE", "FILE_UNREADABLE", b"download"] * 40


def test_private_addresses_are_not_downloaded_from_unless_allowed(tmp_path: Path) -> None:
    with FetchServer({"/b.jpg": b"download"}) as server:
        source: Column = open_column(
            write(tmp_path / "t.jsonl", [{"image": server.url("/b.jpg")}]), "image", None, None
        )
        with Loader(FetchLimits()) as loader:
            assert problems(list(loader.loaded(source.items()))) == ["FORBIDDEN_ADDRESS"]
        assert not server.asked
