"""From rows to records."""

from pathlib import Path

import pytest

from clipsearch.errors import InvalidInput
from clipsearch.ingest.columns import Mapped
from clipsearch.ingest.reasons import BadRecord
from clipsearch.ingest.records import FilePicture, InlinePicture, Record, Unusable, UrlPicture

BASE = Path("/feed")


def record(mapped: Mapped, values: dict[str, object]) -> Record:
    found = mapped.resolve(values, "feed.csv").record("feed.csv:1", "x", values, BASE)
    assert isinstance(found, Record)
    return found


@pytest.mark.parametrize(
    ("names", "item_id", "image"),
    [
        (["id", "image"], "id", "image"),
        (["Name", "SKU", "Image_URL"], "SKU", "Image_URL"),
        (["sku", "id", "photo", "image_path"], "id", "image_path"),
    ],
)
def test_columns_are_found_by_their_names(names: list[str], item_id: str, image: str) -> None:
    columns = Mapped().resolve(names, "feed.csv")
    assert (columns.id, columns.images) == (item_id, (image,))


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(InvalidInput, match=r"feed.csv has no column 'pic'; it has id, image"):
        Mapped(images=("pic",)).resolve(["id", "image"], "feed.csv")


def test_all_other_columns_are_metadata_unless_some_are_named() -> None:
    values: dict[str, object] = {"id": "x", "image": "a.jpg", "price": 2, "none": None, "nan": float("nan"), "b": False}
    assert record(Mapped(), values).metadata == {"price": 2, "b": False}
    assert record(Mapped(metadata=("price", "image")), values).metadata == {"price": 2, "image": "a.jpg"}


def test_paths_urls_bytes_and_lists_are_pictures() -> None:
    cell = ["sub\\a.jpg", "https://x.example/b.jpg", b"jpeg", {"bytes": None, "path": "c.jpg"}, None, ""]
    pictures = record(Mapped(), {"id": "x", "image": cell}).pictures
    assert [type(picture) for picture in pictures] == [FilePicture, UrlPicture, InlinePicture, FilePicture]
    assert isinstance(pictures[0], FilePicture)
    assert pictures[0].path == BASE / "sub/a.jpg"


def test_a_separator_cuts_a_cell() -> None:
    found = record(Mapped(separator="|"), {"id": "x", "image": " a.jpg | b.jpg |"})
    assert [picture.name for picture in found.pictures] == ["a.jpg", "b.jpg"]
    assert found.uri == "a.jpg"


def test_several_columns_of_pictures_are_taken_in_their_order() -> None:
    found = record(Mapped(images=("front", "back")), {"id": "x", "back": "b.jpg", "front": "f.jpg"})
    assert [picture.name for picture in found.pictures] == ["f.jpg", "b.jpg"]


def test_what_is_no_picture_costs_the_row() -> None:
    values: dict[str, object] = {"id": "x", "image": 7}
    found = Mapped().resolve(values, "feed.csv").record("feed.csv:1", "x", values, BASE)
    assert isinstance(found, Unusable)
    assert found.problem.reason == "PICTURE_NOT_USABLE"


@pytest.mark.parametrize(("value", "item_id"), [("007", "007"), (7, "7"), ("", None), (None, None)])
def test_ids(value: object, item_id: str | None) -> None:
    assert Mapped().resolve(["id", "image"], "feed.csv").item_id({"id": value}) == item_id


@pytest.mark.parametrize("value", [1.5, True, ["a"]])
def test_what_is_no_id(value: object) -> None:
    with pytest.raises(BadRecord) as caught:
        Mapped().resolve(["id", "image"], "feed.csv").item_id({"id": value})
    assert caught.value.reason == "ID_NOT_USABLE"


def test_a_text_column_needs_no_pictures() -> None:
    found = record(Mapped(text="title"), {"id": "x", "title": "a red shoe", "image": "a.jpg"})
    assert (found.pictures, found.text) == ((), "a red shoe")
    assert found.metadata == {"image": "a.jpg"}
