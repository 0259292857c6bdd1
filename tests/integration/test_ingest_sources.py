"""Every kind of source, brought into a real server."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from clipsearch.cli.shell import shell
from clipsearch.client import Client
from tests.fetch_server import FetchServer
from tests.integration.ingesting import Desk, jpeg, write_pictures, write_shard


@pytest.fixture(scope="module")
def web() -> Iterator[FetchServer]:
    with FetchServer({f"/{number}.jpg": jpeg(number) for number in range(20)}) as running:
        running.redirect("/moved.jpg", running.url("/1.jpg"))
        yield running


def found_by(desk: Desk, picture: bytes) -> str:
    """The item that a search by a picture finds first, which must be that very picture."""
    with Client(desk.address) as client:
        hit = client.search(image=picture, collection=desk.collection, top_k=1).hits[0]
    assert hit.score > 0.999
    return hit.id


def test_a_directory(desk: Desk, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_pictures(photos, ["a.jpg", "summer/b.jpg", "summer/Größe.jpg", ".hidden/c.jpg"])
    (photos / "notes.txt").write_text("no picture")
    (photos / "broken.jpg").write_bytes(b"no picture either")
    ran = desk.ingest(photos)
    assert ran.status == 0, ran.said
    assert "3 items added" in ran.said
    assert ran.reasons == {"broken.jpg": "IMAGE_UNSUPPORTED_FORMAT"}
    assert desk.items().keys() == {"a.jpg", "summer/b.jpg", "summer/Größe.jpg"}
    assert found_by(desk, (photos / "summer/b.jpg").read_bytes()) == "summer/b.jpg"


def test_a_directory_with_metadata(desk: Desk, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_pictures(photos, ["a.jpg", "b.jpg", "c.jpg"])
    rows = [
        {"file_name": "a.jpg", "id": "A", "title": "first", "price": 3},
        {"file_name": "b.jpg", "title": "second", "tags": ["x", "y"]},
        {"file_name": "gone.jpg", "title": "of nothing"},
    ]
    metadata = tmp_path / "metadata.jsonl"
    metadata.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = desk.ingest(photos, "--metadata", str(metadata))
    assert ran.status == 0, ran.said
    items = desk.items()
    assert {one.id: one.metadata for one in items.values()} == {
        "A": {"title": "first", "price": 3},
        "b.jpg": {"title": "second", "tags": ["x", "y"]},
        "c.jpg": {},
    }
    assert items["A"].uri == "a.jpg"
    assert list(ran.reasons.values()) == ["METADATA_WITHOUT_PICTURE"]


def test_the_pictures_of_a_directory_as_one_item(desk: Desk, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    write_pictures(shop, ["shoe/front.jpg", "shoe/side.jpg", "hat/front.jpg"])
    ran = desk.ingest(shop, "--per-directory")
    assert ran.status == 0, ran.said
    assert desk.items().keys() == {"shoe", "hat"}
    with Client(desk.address) as client:
        views = [(shop / name).read_bytes() for name in ("shoe/front.jpg", "shoe/side.jpg")]
        # An item of several pictures lies between them.
        expected = np.mean([client.embed_image(view).vector for view in views], axis=0)
        stored = client.catalogue.get_item("shoe", collection=desk.collection, with_embedding=True).vector
    assert stored is not None
    assert float(stored @ (expected / np.linalg.norm(expected))) > 0.999


def test_csv_with_paths(desk: Desk, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", ["1.jpg", "2.jpg", "2b.jpg"])
    with (tmp_path / "feed.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["sku", "pic", "name", "price", "link"])
        out.writerow(["007", "pictures/1.jpg", "ein, zwei", "3.5", "https://shop.example/1"])
        out.writerow(["two", "pictures/2.jpg|pictures/2b.jpg", "zwei", "4", ""])
        out.writerow(["three", "pictures/3.jpg", "fehlt", "", ""])
        out.writerow(["007", "pictures/2.jpg", "again", "", ""])
        out.writerow(["", "pictures/2.jpg", "nameless", "", ""])
        out.writerow(["empty", "", "no picture", "", ""])
    ran = desk.ingest(
        tmp_path / "feed.csv", *("--image-column", "pic", "--image-separator", "|", "--uri-column", "link")
    )
    assert ran.status == 0, ran.said
    assert ran.reasons == {
        "three": "FILE_NOT_FOUND",
        "007": "ID_DUPLICATE",
        "feed.csv:6": "ID_MISSING",
        "empty": "CONTENT_MISSING",
    }
    items = desk.items()
    assert items.keys() == {"007", "two"}, "leading zeros are an id's own"
    assert items["007"].metadata == {"name": "ein, zwei", "price": 3.5}
    assert items["007"].uri == "https://shop.example/1"
    assert items["two"].uri == "pictures/2.jpg"


def test_jsonl_with_urls(desk: Desk, web: FetchServer, tmp_path: Path) -> None:
    web.fail_first("/2.jpg", [503, None])
    rows = [
        {"id": 1, "image_url": web.url("/moved.jpg"), "title": "redirected"},
        {"id": 2, "image_url": web.url("/2.jpg"), "title": "after failures"},
        {"id": 3, "image_url": [web.url("/3.jpg"), web.url("/4.jpg")], "title": "two pictures"},
        {"id": 4, "image_url": web.url("/status/404"), "title": "gone"},
        {"id": 5, "image_url": web.url("/announced"), "title": "huge"},
        {"id": 6, "image_url": web.url("/endless"), "title": "without an end"},
        {"id": 7, "image_url": web.url("/loop"), "title": "round and round"},
        {"id": 8, "image_url": web.url("/drip"), "title": "slow"},
        {"id": 9, "image_url": web.url("/cut"), "title": "cut off"},
    ]
    feed = tmp_path / "feed.jsonl"
    feed.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{no json\n")
    options = ("--allow-private-urls", "--download-timeout", "2", "--download-retries", "2")
    ran = desk.ingest(feed, *options)
    assert ran.status == 0, ran.said
    items = desk.items()
    assert items.keys() == {"1", "2", "3"}
    assert items["1"].metadata == {"title": "redirected"}
    assert ran.reasons == {
        "4": "HTTP_STATUS",
        "5": "TOO_LARGE",
        "6": "TOO_LARGE",
        "7": "TOO_MANY_REDIRECTS",
        "8": "TIMED_OUT",
        "9": "CONNECTION_FAILED",
        "feed.jsonl:10": "ROW_NOT_READABLE",
    }
    assert found_by(desk, jpeg(2)) == "2"


def test_private_addresses_are_refused_unless_allowed(desk: Desk, web: FetchServer, tmp_path: Path) -> None:
    feed = tmp_path / "feed.jsonl"
    feed.write_text(json.dumps({"id": "x", "image_url": web.url("/5.jpg")}) + "\n")
    asked = web.asked["/5.jpg"]
    ran = desk.ingest(feed)
    assert ran.status == 1, "nothing at all was accepted"
    assert ran.reasons == {"x": "FORBIDDEN_ADDRESS"}
    assert web.asked["/5.jpg"] == asked
    assert desk.ingest(feed, "--allow-network", "127.0.0.0/8").status == 0
    assert desk.items().keys() == {"x"}


def test_a_bad_picture_among_several(desk: Desk, tmp_path: Path) -> None:
    write_pictures(tmp_path, ["good.jpg"])
    feed = tmp_path / "feed.jsonl"
    feed.write_text(json.dumps({"id": "x", "images": ["good.jpg", "missing.jpg"]}) + "\n")
    assert desk.ingest(feed).reasons == {"x": "FILE_NOT_FOUND"}
    assert desk.items() == {}
    ran = desk.ingest(feed, "--skip-bad-pictures")
    assert ran.status == 0, ran.said
    assert desk.items().keys() == {"x"}


def test_parquet_with_pictures_in_it(desk: Desk, tmp_path: Path) -> None:
    write_pictures(tmp_path, ["there.jpg"])
    images = [{"bytes": jpeg(1), "path": None}, {"bytes": None, "path": "there.jpg"}]
    table = pa.table({"id": [10, 11], "image": images, "rating": [0.5, float("nan")], "on": [True, None]})
    pq.write_table(table, tmp_path / "set.parquet")
    ran = desk.ingest(tmp_path / "set.parquet")
    assert ran.status == 0, ran.said
    assert {one.id: one.metadata for one in desk.items().values()} == {"10": {"rating": 0.5, "on": True}, "11": {}}
    assert found_by(desk, jpeg(1)) == "10"


def test_texts(desk: Desk, tmp_path: Path) -> None:
    feed = tmp_path / "feed.tsv"
    feed.write_text("id\tname\n1\ta red shoe\n2\ta blue hat\n")
    ran = desk.ingest(feed, "--text-column", "name")
    assert ran.status == 0, ran.said
    with Client(desk.address) as client:
        hits = client.search(text="a blue hat", collection=desk.collection, top_k=1).hits
    assert [hit.id for hit in hits] == ["2"]


def test_shards(desk: Desk, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    about = {"url": "https://pictures.example/0", "caption": "a thing", "width": 32}
    write_shard(
        shards / "00000.tar",
        {"000": jpeg(0), "000.jpg": jpeg(0), "000.json": json.dumps(about).encode(), "000.txt": b"a thing"}
        | {"001.jpg": jpeg(1), "001.txt": "schön".encode()},
    )
    write_shard(shards / "00001.tar", {"002.jpg": jpeg(2), "002.json": b"{no json", "003.jpg": jpeg(3)})
    write_shard(shards / "00002.tar", {"004.jpg": jpeg(4), "005.jpg": jpeg(5, side=512)})
    cut = (shards / "00002.tar").read_bytes()
    (shards / "00002.tar").write_bytes(cut[: 512 + 1024 + 512 + 300])
    ran = desk.ingest(shards)
    assert ran.status == 0, ran.said
    items = desk.items()
    assert {"000", "001", "003"} <= items.keys() <= {"000", "001", "003", "004"}
    assert items["000"].metadata["width"] == 32
    assert items["000"].uri == "https://pictures.example/0"
    assert items["001"].metadata == {"caption": "schön"}
    assert ran.reasons["002"] == "METADATA_NOT_USABLE"
    assert ran.reasons["00002.tar"] == "SHARD_DAMAGED"
    assert found_by(desk, jpeg(3)) == "003"
    ran = desk.ingest(f"{shards}/*1.tar")
    assert ran.status == 0, ran.said
    assert ran.reasons == {"002": "METADATA_NOT_USABLE"}, "a pattern names shards too"


def unit_vectors(desk: Desk, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    with Client(desk.address) as client:
        dimension = client.model().dimension
    vectors = np.random.default_rng(5).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_an_array_of_vectors_with_a_table_beside_it(desk: Desk, tmp_path: Path) -> None:
    vectors = unit_vectors(desk, 3)
    np.save(tmp_path / "x.npy", vectors)
    table = tmp_path / "x.csv"
    table.write_text("id,name\na,one\nb,two\n,three\n")
    ran = desk.ingest(tmp_path / "x.npy", "--metadata", str(table))
    assert ran.status == 0, ran.said
    assert {one.id: one.metadata for one in desk.items().values()} == {
        "a": {"name": "one"},
        "b": {"name": "two"},
        "2": {"name": "three"},
    }
    with Client(desk.address) as client:
        hit = client.search(vector=vectors[1], collection=desk.collection, top_k=1).hits[0]
    assert hit.id == "b"


def test_embeddings_in_parquet(desk: Desk, tmp_path: Path) -> None:
    vectors = unit_vectors(desk, 3)
    columns = {"id": ["a", "b", "c"], "embedding": vectors.tolist(), "name": ["one", "two", "three"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    ran = desk.ingest(tmp_path / "x.parquet")
    assert ran.status == 0, ran.said
    assert desk.items()["c"].metadata == {"name": "three"}
    with Client(desk.address) as client:
        stored = client.catalogue.get_item("c", collection=desk.collection, with_embedding=True).vector
    assert stored is not None
    np.testing.assert_allclose(stored, vectors[2], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.npy", b"nothing", "not a readable .npy file"),
        ("x.parquet", b"nothing", "x.parquet"),
        ("x.docx", b"nothing", "is none of"),
        ("x.csv", b"name,price\na,1\n", "--id-column"),
        ("x.jsonl", b'{"id": 1, "name": "a"}\n', "--image-column"),
    ],
)
def test_what_cannot_be_ingested_is_said_in_a_sentence(
    desk: Desk, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    ran = desk.ingest(tmp_path / name)
    assert ran.status not in {0, None}
    assert says in ran.said
    assert "Traceback" not in ran.said


def test_vectors_of_another_dimension_are_refused(desk: Desk, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 7), np.float32))
    ran = desk.ingest(tmp_path / "x.npy")
    assert ran.status != 0
    assert "dimension 7" in ran.said
    assert desk.items() == {}


def test_there_is_nothing(desk: Desk, tmp_path: Path) -> None:
    ran = desk.ingest(tmp_path / "nowhere")
    assert ran.status != 0
    assert "there is nothing at" in ran.said


def test_no_server(tmp_path: Path, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipsearch.cli.ingest.READY_TIMEOUT_S", 0.2)
    write_pictures(tmp_path / "photos", ["a.jpg"])
    ran = Desk(f"127.0.0.1:{unused_tcp_port}", "default", tmp_path).ingest(tmp_path / "photos")
    assert ran.status != 0
    assert str(unused_tcp_port) in ran.said


def test_no_collection(desk: Desk, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", ["a.jpg"])
    arguments = [one for one in desk.arguments(tmp_path / "photos") if one != "--create"]
    result = CliRunner().invoke(shell, arguments)
    assert result.exit_code == 1
    assert "--create makes it" in result.output
