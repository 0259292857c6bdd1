import json
from pathlib import Path

from click.testing import CliRunner, Result

from clipsearch.cli.shell import shell
from clipsearch.v1 import search_pb2
from tests.unit.client.fake_server import DIMENSION, METADATA, SEQUENCE_NUMBER, Fake


def search(fake: Fake, *arguments: str) -> Result:
    return CliRunner().invoke(shell, ["search", "--server", fake.target, *arguments])


def test_table_of_hits_with_titles_and_timings(fake: Fake) -> None:
    result = search(fake, "a red hat", "--top-k", "2")
    assert result.exit_code == 0, result.output
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    assert cells == [["1", "hat", "A hat", "1.0000"], ["2", "shoe", "A hat", "0.7500"]]
    assert "0.01 ms in the server: preprocess 0.00, queue 0.00, encode 0.00, search 0.01" in result.stdout
    request = fake.requests[0]
    assert (request.query.text, request.top_k, request.view) == ("a red hat", 2, search_pb2.VIEW_METADATA)
    assert not request.HasField("nprobe")


def test_without_metadata_there_is_no_title(fake: Fake) -> None:
    result = search(fake, "hat", "--view", "basic", "--nprobe", "4")
    assert "title" not in result.stdout
    assert fake.requests[0].nprobe == 4


def test_nothing_found_is_said(fake: Fake) -> None:
    result = search(fake, "hat", "--top-k", "0")
    assert result.exit_code == 0
    assert "Nothing matches." in result.stdout
    assert "rank" not in result.stdout


def test_narrowed(fake: Fake) -> None:
    narrowed = ("--collection", "shop", "--filter", "price < 50", "--exclude", "hat", "--exclude", "bag")
    assert search(fake, "hat", *narrowed, "--min-score", "0.25").exit_code == 0
    request = fake.requests[0]
    assert (request.collection, request.filter) == ("shop", "price < 50")
    assert (list(request.exclude_ids), request.min_score) == (["hat", "bag"], 0.25)


def test_not_narrowed(fake: Fake) -> None:
    assert search(fake, "hat").exit_code == 0
    request = fake.requests[0]
    assert (request.collection, request.filter, list(request.exclude_ids)) == ("", "", [])
    assert not request.HasField("min_score")


def test_json(fake: Fake) -> None:
    result = search(fake, "hat", "--top-k", "1", "--json", "--view", "full")
    plain = json.loads(result.stdout)
    assert plain["truncated"] is False
    assert plain["sequence_number"] == SEQUENCE_NUMBER
    assert plain["timings"] == {
        "preprocess_us": 0, "queue_us": 0, "encode_us": 0, "search_us": 5, "total_us": 9,
    }  # fmt: skip
    (hit,) = plain["hits"]
    assert (hit["id"], hit["score"], hit["metadata"]) == ("hat", 1.0, METADATA)
    assert len(hit["vector"]) == DIMENSION
    basic = json.loads(search(fake, "hat", "--json", "--view", "basic").stdout)
    assert basic["hits"][0] == {"id": "hat", "score": 1.0}


def test_by_picture_and_by_item(fake: Fake, tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    picture.write_bytes(b"png")
    assert search(fake, "--image", str(picture)).exit_code == 0
    assert search(fake, "--id", "shoe").exit_code == 0
    assert fake.requests[0].query.image == b"png"
    assert fake.requests[1].query.item_id == "shoe"


def test_server_errors_are_one_sentence(fake: Fake) -> None:
    result = search(fake, "--id", "nobody")
    assert (result.exit_code, result.stderr) == (1, "Error: NOT_FOUND (ITEM_NOT_FOUND): no such item\n")


def test_no_server() -> None:
    result = CliRunner().invoke(shell, ["search", "hat", "--server", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: UNAVAILABLE: ")
    assert "Traceback" not in result.stderr
