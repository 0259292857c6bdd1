"""Finding products, by all the ways that the page offers."""

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from tests.fetch_server import FetchServer
from tests.ui.conftest import Screenshot
from tests.ui.shop import Shop


def test_by_a_sentence(shop: Shop, screenshot: Screenshot) -> None:
    shop.open()
    expect(shop.headline).to_have_text("All products")
    shop.search("a pair of red boots")
    assert len(shop.titles()) == 24
    assert sum("boots" in tags for tags in shop.tags()[:4]) >= 3
    assert shop.scores() == sorted(shop.scores(), reverse=True)
    # The link to this page finds the same.
    titles = shop.titles()
    shop.page.reload()
    expect(shop.headline).to_have_text("“a pair of red boots”")
    shop.rested()
    assert shop.titles() == titles
    screenshot(shop.page, "search-desktop")


def test_every_card_has_its_picture_price_and_score(shop: Shop) -> None:
    shop.open("q=mug")
    expect(shop.products).to_have_count(24)
    assert len(shop.prices()) == len(shop.scores()) == 24
    for image, title in zip(shop.products.locator("img").all(), shop.titles(), strict=True):
        assert image.get_attribute("alt") == title
        image.scroll_into_view_if_needed()
        shop.page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())


def test_the_time_is_told(shop: Shop) -> None:
    shop.open("q=mug")
    latency = shop.page.locator(".latency")
    expect(latency).to_contain_text(re.compile(r"\d+ ms until the answer was here, \d+\.\d ms of them in the server"))
    for stage in ("prepare", "wait", "encode", "search"):
        expect(latency).to_contain_text(re.compile(rf"{stage} \d+\.\d ms"))


def test_by_an_uploaded_picture(shop: Shop, catalogue: Path) -> None:
    shop.open()
    picture = next((catalogue / "images").glob("umbrella-*.jpg"))
    shop.upload(picture)
    expect(shop.headline).to_have_text(f"like {picture.name}")
    shop.rested()
    assert sum("umbrella" in tags for tags in shop.tags()[:4]) >= 3
    assert shop.scores()[0] > 0.99
    shop.page.get_by_role("button", name="Remove the picture").click()
    expect(shop.headline).to_have_text("All products")


def test_by_the_picture_behind_a_link(shop: Shop, web: FetchServer) -> None:
    shop.open()
    shop.follow(web.url("/boots.jpg"))
    expect(shop.headline).to_have_text("like the picture behind your link")
    shop.rested()
    assert sum("boots" in tags for tags in shop.tags()[:4]) >= 3


def test_the_camera_is_asked_for_where_it_is_chosen(shop: Shop) -> None:
    shop.open()
    shop.page.get_by_role("button", name="Search by picture").click()
    expect(shop.page.get_by_text("A picture from this device")).to_be_visible()
    expect(shop.page.get_by_test_id("stCameraInput")).to_have_count(0)
    shop.choose_source("Camera")
    expect(shop.page.get_by_test_id("stCameraInput")).to_be_visible()


def test_by_words_and_a_picture_weighed_against_each_other(shop: Shop, catalogue: Path, screenshot: Screenshot) -> None:
    lines = map(json.loads, (catalogue / "metadata.jsonl").read_text().splitlines())
    boots = next(line for line in lines if line["category"] == "boots" and line["colour"] != "green")
    shop.open()
    shop.upload(catalogue / boots["image"])
    expect(shop.headline).to_contain_text("like")
    shop.search("green")
    expect(shop.headline).to_have_text(f"“green” and like {Path(boots['image']).name}")
    slider, best = shop.page.get_by_role("slider", name="Words or picture?"), shop.products.first
    expect(slider).to_have_attribute("aria-valuetext", "50 % picture")
    slider.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "100 % picture")
    expect(best).to_contain_text("match 1.000")
    assert all("boots" in tags for tags in shop.tags()[:3])
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "0 % picture")
    expect(best).to_contain_text("· green")
    expect(best).not_to_contain_text("boots")
    for _ in range(8):
        slider.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "40 % picture")
    expect(best).to_contain_text("boots · green")
    screenshot(shop.page, "composed-desktop")


def test_what_is_not_wanted_is_looked_away_from(shop: Shop) -> None:
    shop.open("q=a+red+dress")
    before = sum("red" in tags for tags in shop.tags()[:6])
    shop.avoid("red")
    expect(shop.headline).to_have_text("“a red dress”, without red")
    after = sum("red" in tags for tags in shop.tags()[:6])
    assert after < before
    assert "dress" in shop.tags()[0]


def test_looking_away_alone_is_no_search(shop: Shop) -> None:
    shop.open("not=red")
    shop.warns("Say what to look for as well")


def test_more_like_this(shop: Shop) -> None:
    shop.open("q=sunglasses")
    title, kind = shop.titles()[2], shop.tags()[2].split(" · ")[0]
    shop.more_like(2)
    expect(shop.headline).to_have_text(f"like {title}")
    expect(shop.page.get_by_label("What are you looking for?")).to_have_value("")
    shop.rested()
    assert kind in shop.tags()[0]
    assert title not in shop.titles()[:1]


def test_the_pages_of_a_search(shop: Shop) -> None:
    shop.open("q=something+blue")
    first = shop.titles()
    expect(shop.page.get_by_role("button", name="Previous")).to_be_disabled()
    shop.page.get_by_role("button", name="Next").click()
    expect(shop.page.get_by_text("Page 2", exact=True)).to_be_visible()
    shop.rested()
    second = shop.titles()
    assert len(second) == 24
    assert second != first
    assert shop.page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 0
    shop.page.get_by_role("button", name="Previous").click()
    expect(shop.page.get_by_text("Page 1", exact=True)).to_be_visible()
    shop.rested()
    assert shop.titles() == first
    shop.page.get_by_role("button", name="Next").click()
    expect(shop.page.get_by_text("Page 2", exact=True)).to_be_visible()
    shop.search("something green")
    expect(shop.page.get_by_text("Page 1", exact=True)).to_be_visible()


def test_the_pages_of_the_catalogue_end(shop: Shop) -> None:
    shop.open()
    shop.pick("Category", "umbrella")
    expect(shop.headline).to_have_text("Products that fit")
    shop.rested()
    umbrellas = len(shop.titles())
    assert 0 < umbrellas <= 24
    assert all(tags.startswith("umbrella") for tags in shop.tags())
    expect(shop.page.get_by_role("button", name="Next")).to_have_count(0)
