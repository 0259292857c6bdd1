"""Filters, which come from the metadata of the catalogue itself."""

import json
from pathlib import Path

from playwright.sync_api import expect

from tests.ui.shop import Shop


def test_colour_and_category(shop: Shop, catalogue: Path) -> None:
    lines = [json.loads(line) for line in (catalogue / "metadata.jsonl").read_text().splitlines()]
    red = sum(line["colour"] == "red" for line in lines)
    shop.open("q=a+bag")
    shop.tick("Colour", "red")
    expect(shop.page.get_by_role("button", name=f"red ({red})", pressed=True)).to_be_visible()
    shop.all_cards_say("· red")
    shop.pick("Category", "backpack")
    shop.all_cards_say("backpack · red")
    shop.page.get_by_role("button", name="Clear all filters").click()
    expect(shop.products).to_have_count(24)
    assert len({tags.split(" · ")[1] for tags in shop.tags()}) > 1


def test_price(shop: Shop) -> None:
    shop.open("q=a+bag")
    assert max(shop.prices()) > 50
    highest = shop.page.get_by_role("slider", name="Price").last
    highest.focus()
    top = float(highest.input_value())
    for _ in range(3):
        highest.press("PageDown")
    limit = float(highest.input_value())
    assert limit < top
    shop.all_prices_are_at_most(limit)


def test_other_fields_are_offered_too(shop: Shop) -> None:
    shop.open("q=a+scarf")
    shop.page.get_by_text("More filters").click()
    shop.tick("Pattern", "striped")
    shop.all_cards_say("striped")


def test_nothing_matches(shop: Shop) -> None:
    shop.open("q=a+bag")
    shop.pick("Category", "vase")
    shop.all_cards_say("vase")  # a click would be lost while the page is drawn anew
    shop.page.get_by_text("More filters").click()
    # No vase has sleeves.
    shop.tick("Sleeves", "long")
    shop.warns("Nothing matches")
    expect(shop.products).to_have_count(0)
