"""Which changes are of interest."""

from pathlib import Path

from clipsearch.ingest.pruning import too_many
from clipsearch.ingest.watching import Place


def test_of_a_directory_all_but_hidden_files(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    assert place.wants(f"{tmp_path}/a/b.jpg")
    assert not place.wants(f"{tmp_path}/.git/b.jpg")
    assert not place.wants(f"{tmp_path}/a/.b.jpg.part")


def test_of_a_file_itself_alone(tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.touch()
    place = Place.of(feed)
    assert place.root == tmp_path
    assert place.wants(str(feed))
    assert not place.wants(f"{tmp_path}/feed.csv.new")


def test_how_many_gone_are_too_many() -> None:
    assert not too_many(10, 10), "a few are always"
    assert not too_many(20, 100)
    assert too_many(21, 100)
    assert too_many(11, 12)
