"""Where pictures lie, what is given out, and what is no picture."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from clipsearch_demo.ui.pictures import (
    CARD_PX,
    LARGE_PX,
    NotAPicture,
    Pictures,
    data_address,
    file_thumbnail,
    picture_format,
    thumbnail,
)


def encoded(kind: str = "JPEG", size: tuple[int, int] = (600, 300), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, "red" if mode == "RGB" else 0).save(out, kind)
    return out.getvalue()


@pytest.fixture(name="pictures")
def _pictures(tmp_path: Path) -> Pictures:
    (tmp_path / "shop" / "images").mkdir(parents=True)
    (tmp_path / "shop" / "images" / "a hat.jpg").write_bytes(encoded())
    (tmp_path / "shop" / "notes.txt").write_text("secret")
    (tmp_path / "outside.jpg").write_bytes(encoded())
    (tmp_path / "shop" / "leads-out.jpg").symlink_to(tmp_path / "outside.jpg")
    (tmp_path / "shop" / "loop.jpg").symlink_to(tmp_path / "shop" / "loop.jpg")
    return Pictures(tmp_path / "shop", tmp_path / "uploads")


def test_the_address_of_an_items_picture(pictures: Pictures) -> None:
    assert pictures.address("images/a hat.jpg", {}) == f"/pictures/items/{CARD_PX}/images/a%20hat.jpg"
    assert pictures.address("a hat.jpg", {"image": "images/a hat.jpg"}, LARGE_PX).startswith(
        f"/pictures/items/{LARGE_PX}/"
    )
    assert pictures.address("https://shop.example/hat.jpg", {"image": "images/a hat.jpg"}).startswith("https://")
    assert pictures.address("", {}) == ""
    assert pictures.address("javascript:alert(1)", {"image": "data:text/html,x"}) == ""
    assert Pictures(None, Path("uploads")).address("images/a hat.jpg", {}) == ""


@pytest.mark.parametrize(
    "path",
    ["../outside.jpg", "images/../../outside.jpg", "leads-out.jpg", "loop.jpg", "notes.txt", "images", "", "a\0.jpg"],
)
def test_nothing_outside_and_nothing_else_is_given_out(pictures: Pictures, path: str) -> None:
    assert pictures.file("items", path) is None


def test_absolute_paths_and_other_directories(pictures: Pictures, tmp_path: Path) -> None:
    assert pictures.file("items", str(tmp_path / "outside.jpg")) is None
    assert pictures.file("items", "x" * 5000 + ".jpg") is None
    assert pictures.file("others", "images/a hat.jpg") is None
    assert pictures.file("items", "images/a hat.jpg") == (tmp_path / "shop/images/a hat.jpg").resolve()


def test_an_added_picture_is_kept_once_under_the_name_of_its_content(pictures: Pictures, tmp_path: Path) -> None:
    uri = pictures.keep(encoded("PNG"))
    assert pictures.keep(encoded("PNG")) == uri
    assert uri.startswith("upload:")
    assert uri.endswith(".png")
    (kept,) = (tmp_path / "uploads").iterdir()
    assert kept.read_bytes() == encoded("PNG")
    assert pictures.address(uri, {}) == f"/pictures/uploads/{CARD_PX}/{kept.name}"
    assert pictures.address("upload:../outside.jpg", {}) == ""
    with pytest.raises(NotAPicture):
        pictures.keep(b"no picture")
    assert len(list((tmp_path / "uploads").iterdir())) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_thumbnails(kind: str) -> None:
    assert picture_format(encoded(kind)) == kind
    small = Image.open(io.BytesIO(thumbnail(encoded(kind), 100)))
    assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (100, 50))
    assert data_address(encoded(kind), 100).startswith("data:image/jpeg;base64,")


def test_what_is_transparent_is_white() -> None:
    small = Image.open(io.BytesIO(thumbnail(encoded("PNG", mode="RGBA"), 100)))
    assert min(small.getpixel((50, 25))) > 250  # type: ignore[type-var, arg-type]


def test_a_thumbnail_stands_upright() -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    Image.new("RGB", (600, 300), "red").save(out, "JPEG", exif=exif)
    assert Image.open(io.BytesIO(thumbnail(out.getvalue(), 100))).size == (50, 100)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a JPEG"),
        (b"milk, bread, eggs", "not a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG"),
        (encoded()[:-200], "cannot be decoded"),
        (encoded("PNG", (9000, 6000), "L"), "9000 x 6000 pixels"),
    ],
)
def test_what_is_no_picture(content: bytes, why: str) -> None:
    with pytest.raises(NotAPicture, match=why):
        thumbnail(content, 100)


def test_a_changed_file_has_another_thumbnail(tmp_path: Path) -> None:
    file = tmp_path / "hat.png"
    file.write_bytes(encoded("PNG"))
    first = file_thumbnail(file, file.stat().st_mtime_ns, 100)
    file.write_bytes(encoded("PNG", (100, 100)))
    os.utime(file, ns=(1, 1))
    assert file_thumbnail(file, file.stat().st_mtime_ns, 100) != first
