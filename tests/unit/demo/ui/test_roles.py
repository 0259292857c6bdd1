"""What a card makes of metadata, whatever a shop calls its fields."""

import pytest

from clipsearch_demo.ui.adding import Draft, item_id, metadata
from clipsearch_demo.ui.roles import Roles, picture_fields, price_of, title_of

AMERICAN = Roles.found(["name", "color", "type", "price_usd", "size"])


def test_the_fields_of_a_catalogue() -> None:
    assert Roles.found([]) == Roles("title", "price", "category", "colour", "description")
    assert Roles("name", "price_usd", "type", "color", "description") == AMERICAN
    assert Roles.found(["name", "title"]).title == "title"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12, "12.00"), (1234.5, "1,234.50"), (0, "0.00"), ("from 12 EUR", "from 12 EUR"), (None, ""), (True, "")],
)
def test_prices(value: object, shown: str) -> None:
    assert price_of(AMERICAN, {"price_usd": value}) == shown
    assert price_of(AMERICAN, {}) == ""


def test_titles() -> None:
    assert title_of(AMERICAN, "sku-1", {"name": "A hat"}) == "A hat"
    assert title_of(AMERICAN, "sku-1", {"name": ""}) == "sku-1"
    assert title_of(AMERICAN, "sku-1", {"title": "A hat"}) == "sku-1"


def test_pictures() -> None:
    fields = {"link": "l.jpg", "image": ["a.jpg", "b.jpg"], "picture": 7, "img": "", "image_url": "https://x/y.jpg"}
    assert picture_fields(fields) == ["a.jpg", "https://x/y.jpg", "l.jpg"]
    assert picture_fields({"image": []}) == []


def test_a_new_product_has_the_fields_of_the_others() -> None:
    draft = Draft("A hat", 0.0, "hat", "", "", [b"x"], "")
    assert metadata(draft, AMERICAN) == {"name": "A hat", "price_usd": 0.0, "type": "hat"}
    first, second = item_id("Ein schöner  Hut!"), item_id("Ein schöner  Hut!")
    assert first != second
    assert first.startswith("ein-sch-ner-hut-")
    assert item_id("帽子").startswith("product-")
