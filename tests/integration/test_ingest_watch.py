"""``--watch``: a directory, and a feed, that change while it runs."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.ingesting import Desk, jpeg, write_pictures


class Watching:
    """The command, and what it says line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def until(self, *words: str) -> str:
        """Return the next line that holds one of the words."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if any(word in line for word in words):
                return line
        raise AssertionError(f"it ended without {' or '.join(words)}")


@contextmanager
def watching(desk: Desk, source: Path, *more: str) -> Iterator[Watching]:
    with desk.start(source, "--watch", *more, stderr=subprocess.STDOUT) as process:
        try:
            watch = Watching(process)
            watch.until("Watching for changes")
            yield watch
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()


def test_a_directory_stays_in_step(desk: Desk, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_pictures(photos, ["a.jpg", "sub/b.jpg"])
    with watching(desk, photos, "--prune") as watch:
        assert desk.items().keys() == {"a.jpg", "sub/b.jpg"}
        write_pictures(photos, ["new/c.jpg"])
        watch.until("1 items added")
        assert "new/c.jpg" in desk.items()
        before = desk.items()["a.jpg"].sequence_number
        (photos / "a.jpg").write_bytes(jpeg(1234))
        watch.until("1 updated")
        assert desk.items()["a.jpg"].sequence_number > before
        (photos / "sub/b.jpg").rename(photos / "sub/moved.jpg")
        watch.until("1 removed")
        assert desk.items().keys() == {"a.jpg", "new/c.jpg", "sub/moved.jpg"}
        (photos / "bad.jpg").write_bytes(b"no picture")
        watch.until("IMAGE_UNSUPPORTED_FORMAT")
    assert [one["id"] for one in desk.rejects()] == ["bad.jpg"]


def test_without_prune_nothing_is_removed(desk: Desk, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_pictures(photos, ["a.jpg", "b.jpg"])
    with watching(desk, photos) as watch:
        (photos / "a.jpg").unlink()
        write_pictures(photos, ["c.jpg"])
        watch.until("1 items added")
    assert desk.items().keys() == {"a.jpg", "b.jpg", "c.jpg"}


def test_a_feed_is_read_again_when_it_is_replaced(desk: Desk, tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.jpg"])
    feed = tmp_path / "feed.csv"
    feed.write_text("id,image,price\nx,a.jpg,1\n")
    with watching(desk, feed) as watch:
        newer = tmp_path / "feed.csv.new"
        newer.write_text("id,image,price\nx,a.jpg,2\n")
        newer.rename(feed)
        watch.until("1 updated (1 of them in their metadata alone)")
    assert desk.items()["x"].metadata == {"price": 2}


def test_what_changed_while_nobody_watched_is_found_at_the_start(desk: Desk, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_pictures(photos, ["a.jpg"])
    desk.ingest(photos)
    write_pictures(photos, ["b.jpg"])
    with watching(desk, photos):
        assert desk.items().keys() == {"a.jpg", "b.jpg"}
