"""The same source again: what is unchanged, changed or gone, and what the server was made to forget meanwhile."""

import csv
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsearch.client import Client, NewItem
from tests.fetch_server import FetchServer
from tests.integration.ingesting import Desk, jpeg, write_pictures

NAMES = [f"{number:02}.jpg" for number in range(12)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    write_pictures(root, NAMES)
    return root


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[NewItem]:
    """Every item that is sent to the server from now on, in the order of sending."""
    from clipsearch.client.catalogue_sync import Catalogue

    items: list[NewItem] = []
    send, lock = Catalogue.upsert, threading.Lock()

    def noting(self: Catalogue, batch: list[NewItem], **more: Any) -> Any:
        with lock:
            items.extend(batch)
        return send(self, batch, **more)

    monkeypatch.setattr(Catalogue, "upsert", noting)
    return items


def test_what_is_unchanged_is_neither_sent_nor_read(
    desk: Desk, photos: Path, sent: list[NewItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "12 items added" in desk.ingest(photos).said
    assert {item.id for item in sent} == set(NAMES)
    sent.clear()
    from clipsearch.ingest.records import FilePicture

    monkeypatch.setattr(FilePicture, "read", lambda *_: pytest.fail("read again"))
    ran = desk.ingest(photos)
    assert "0 items added, 0 updated, 12 unchanged" in ran.said
    assert sent == []


def test_a_file_that_was_only_touched_is_read_and_not_sent(desk: Desk, photos: Path, sent: list[NewItem]) -> None:
    desk.ingest(photos)
    sent.clear()
    os.utime(photos / NAMES[0], (1, 1))
    assert "12 unchanged" in desk.ingest(photos).said
    assert sent == []


def test_what_changed_is_sent_alone(desk: Desk, photos: Path, sent: list[NewItem]) -> None:
    desk.ingest(photos)
    before = desk.items()
    sent.clear()
    (photos / NAMES[3]).write_bytes(jpeg(1000))
    write_pictures(photos, ["new.jpg"])
    assert "1 items added, 1 updated, 11 unchanged" in desk.ingest(photos).said
    assert {item.id for item in sent} == {NAMES[3], "new.jpg"}
    after = desk.items()
    assert after[NAMES[3]].sequence_number > before[NAMES[3]].sequence_number
    assert after[NAMES[4]].sequence_number == before[NAMES[4]].sequence_number


def write_feed(path: Path, prices: dict[str, float]) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "image", "price"])
        out.writerows([name, f"photos/{name}", price] for name, price in prices.items())


def test_of_what_changed_in_metadata_alone_no_picture_is_sent(
    desk: Desk, photos: Path, sent: list[NewItem], tmp_path: Path
) -> None:
    feed = tmp_path / "feed.csv"
    write_feed(feed, dict.fromkeys(NAMES, 1.0))
    desk.ingest(feed)
    with Client(desk.address) as client:
        before = client.catalogue.get_item(NAMES[0], collection=desk.collection, with_embedding=True)
    sent.clear()
    write_feed(feed, dict.fromkeys(NAMES, 1.0) | {NAMES[0]: 2.0})
    ran = desk.ingest(feed)
    assert "0 items added, 1 updated (1 of them in their metadata alone), 11 unchanged" in ran.said
    assert [(item.id, item.image) for item in sent] == [(NAMES[0], None)]
    with Client(desk.address) as client:
        after = client.catalogue.get_item(NAMES[0], collection=desk.collection, with_embedding=True)
    assert after.metadata == {"price": 2.0}
    assert before.vector is not None and after.vector is not None
    np.testing.assert_array_equal(before.vector, after.vector)


def test_known_urls_are_downloaded_again_only_when_asked(desk: Desk, tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    with FetchServer({"/a.jpg": jpeg(1)}) as web:
        feed.write_text(f"id,image_url\na,{web.url('/a.jpg')}\n")
        desk.ingest(feed, "--allow-private-urls")
        assert "1 unchanged" in desk.ingest(feed, "--allow-private-urls").said
        assert web.asked["/a.jpg"] == 1
        assert "1 unchanged" in desk.ingest(feed, "--allow-private-urls", "--recheck-urls").said
        web.files["/a.jpg"] = jpeg(2)
        assert "1 updated" in desk.ingest(feed, "--allow-private-urls", "--recheck-urls").said


def test_what_is_gone_stays_unless_pruned(desk: Desk, photos: Path) -> None:
    desk.ingest(photos)
    (photos / NAMES[0]).unlink()
    assert "11 unchanged." in desk.ingest(photos).said
    assert desk.items().keys() == set(NAMES)
    ran = desk.ingest(photos, "--prune")
    assert ran.status == 0
    assert "1 removed" in ran.said
    assert desk.items().keys() == set(NAMES[1:])


def test_many_are_not_removed_without_a_word(desk: Desk, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    names = [f"{number:02}.jpg" for number in range(30)]
    write_pictures(photos, names)
    desk.ingest(photos)
    for name in names[:15]:
        (photos / name).unlink()
    ran = desk.ingest(photos, "--prune")
    assert ran.status == 1
    assert "15 of 30 items are gone" in ran.said
    assert len(desk.items()) == 30
    ran = desk.ingest(photos, "--prune", "--yes")
    assert ran.status == 0
    assert desk.items().keys() == set(names[15:])


def test_what_other_programs_stored_is_never_removed(desk: Desk, photos: Path) -> None:
    with Client(desk.address) as client:
        client.catalogue.create_collection(desk.collection)
        client.catalogue.upsert([NewItem("of others", text="x")], collection=desk.collection)
    desk.ingest(photos)
    (photos / NAMES[0]).unlink()
    assert "1 removed" in desk.ingest(photos, "--prune", "--yes").said
    assert desk.items().keys() == {*NAMES[1:], "of others"}


def test_what_another_source_has_too_is_not_removed(desk: Desk, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_pictures(other, NAMES[:1])
    desk.ingest(photos)
    desk.ingest(other)
    (photos / NAMES[0]).unlink()
    assert desk.ingest(photos, "--prune").status == 0
    assert NAMES[0] in desk.items()


def test_nothing_is_removed_where_the_source_could_not_be_read_whole(desk: Desk, photos: Path, tmp_path: Path) -> None:
    feed = tmp_path / "feed.jsonl"
    line = '{{"id": "{0}", "image": "photos/{0}"}}\n'
    feed.write_text("".join(line.format(name) for name in NAMES))
    desk.ingest(feed)
    feed.write_text("".join(line.format(name) for name in NAMES[:-1]) + '{"id": "11.jp\n')
    ran = desk.ingest(feed, "--prune", "--yes")
    assert ran.status == 1
    assert "could not be read: nothing was removed" in ran.said
    assert desk.items().keys() == set(NAMES)


def test_a_dry_run_says_and_does_nothing(desk: Desk, photos: Path, sent: list[NewItem]) -> None:
    desk.ingest(photos)
    (photos / NAMES[0]).unlink()
    (photos / NAMES[1]).write_bytes(jpeg(1000))
    write_pictures(photos, ["new.jpg"])
    before = {item.id: item.sequence_number for item in desk.items().values()}
    sent.clear()
    for _ in range(2):  # the second time as the first: nothing was noted either
        ran = desk.ingest(photos, "--prune", "--dry-run")
        assert "Would be: 1 items added, 1 updated, 10 unchanged, 1 removed." in ran.said
    assert sent == []
    assert {item.id: item.sequence_number for item in desk.items().values()} == before


def test_a_collection_that_was_made_anew_gets_everything(desk: Desk, photos: Path) -> None:
    desk.ingest(photos)
    with Client(desk.address) as client:
        client.catalogue.delete_collection(desk.collection)
    ran = desk.ingest(photos)
    assert "the collection is not the one of the last run" in ran.said
    assert "12 items added" in ran.said
    assert desk.items().keys() == set(NAMES)


def test_what_others_changed_or_deleted_is_sent_again(desk: Desk, photos: Path, sent: list[NewItem]) -> None:
    desk.ingest(photos)
    with Client(desk.address) as client:
        client.catalogue.delete([NAMES[0]], collection=desk.collection)
        client.catalogue.upsert([NewItem(NAMES[1], text="something else")], collection=desk.collection)
    sent.clear()
    ran = desk.ingest(photos)
    assert "2 items were changed or deleted by others" in ran.said
    assert {item.id for item in sent} == {NAMES[0], NAMES[1]}
    assert desk.items().keys() == set(NAMES)


def test_a_picture_that_was_refused_is_tried_again_once_it_changed(desk: Desk, photos: Path) -> None:
    (photos / NAMES[0]).write_bytes(b"no picture")
    assert desk.ingest(photos).reasons == {NAMES[0]: "IMAGE_UNSUPPORTED_FORMAT"}
    (photos / NAMES[0]).write_bytes(jpeg(7))
    ran = desk.ingest(photos)
    assert "1 items added" in ran.said
    assert ran.rejects == [], "the list is of the last run"


def test_a_picture_that_went_bad_does_not_take_the_stored_one_away(desk: Desk, photos: Path) -> None:
    desk.ingest(photos)
    (photos / NAMES[0]).write_bytes(b"no picture any more")
    ran = desk.ingest(photos, "--prune", "--yes")
    assert ran.reasons == {NAMES[0]: "IMAGE_UNSUPPORTED_FORMAT"}
    assert NAMES[0] in desk.items(), "it is in the source, so it is not gone"


def test_two_runs_of_one_source_exclude_each_other(desk: Desk, photos: Path, tmp_path: Path) -> None:
    from clipsearch.ingest.state import Key, State

    with State(tmp_path / "state", Key(desk.address, desk.collection, str(photos))):
        ran = desk.ingest(photos)
    assert ran.status != 0
    assert "is being ingested by another process" in ran.said
