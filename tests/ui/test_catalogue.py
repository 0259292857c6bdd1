"""Changing the catalogue from the page, and watching what the server does with it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from clipsearch.client import Client, NewItem
from clipsearch_demo.catalogue.render import render
from clipsearch_demo.catalogue.specs import generate_specs
from tests.fetch_server import FetchServer
from tests.integration.support import Running
from tests.ui.conftest import Screenshot
from tests.ui.shop import Shop


@pytest.fixture(name="vase")
def _vase(tmp_path: Path) -> Path:
    """A picture of a product that the catalogue does not hold."""
    spec = next(spec for spec in generate_specs(400, 77) if spec.kind == "vase")
    path = tmp_path / "vase.jpg"
    render(spec).save(path, quality=90)
    return path


def fill_in(page: Page, title: str) -> None:
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Title").fill(title)
    dialog.get_by_label("Price").fill("31.5")
    dialog.get_by_label("Description").fill("Blown by hand.")
    for label, value in (("Category", "vase"), ("Colour", "glass green")):
        field = dialog.get_by_label(label)
        field.fill(value)
        field.press("Enter")


def test_a_product_is_added_found_and_deleted(shop: Shop, vase: Path, server: Running, screenshot: Screenshot) -> None:
    page, dialog = shop.page, shop.page.get_by_role("dialog")
    shop.open("q=a+vase")
    page.get_by_role("button", name="Add a product").click()
    dialog.locator('input[type="file"]').set_input_files(vase)
    title = "A vase nobody else has"
    fill_in(page, title)
    screenshot(page, "add-desktop")
    dialog.get_by_role("button", name="Add to the catalogue").click()
    expect(page.get_by_text(f"“{title}” is in the catalogue.")).to_be_visible()
    expect(dialog).to_have_count(0)

    shop.upload(vase)
    expect(shop.headline).to_contain_text("like vase.jpg")
    first = shop.products.first
    expect(first).to_contain_text(title)
    expect(first).to_contain_text("31.50")
    expect(first).to_contain_text("vase · glass green")
    page.wait_for_function(
        "image => image.complete && image.naturalWidth > 0", arg=first.locator("img").element_handle()
    )
    with Client(server.address) as client:
        (item,) = client.catalogue.list_items(filter='colour = "glass green"')
    assert re.fullmatch(r"upload:[0-9a-f]{32}\.jpg", item.uri)
    assert item.metadata == {
        "title": title,
        "price": 31.5,
        "category": "vase",
        "colour": "glass green",
        "description": "Blown by hand.",
    }

    shop.tick("Colour", "glass green")
    expect(shop.products).to_have_count(1)
    page.get_by_role("button", name="Details").first.click()
    expect(dialog).to_contain_text("Blown by hand.")
    expect(dialog).to_contain_text(item.id)
    screenshot(page, "details-desktop")
    dialog.get_by_role("button", name="Delete this product").click()
    dialog.get_by_role("button", name="Keep it").click()
    dialog.get_by_role("button", name="Delete this product").click()
    dialog.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text(f"“{title}” was deleted.")).to_be_visible()
    # The colour is gone with its only product, and so is the filter by it.
    expect(shop.products).to_have_count(24)
    expect(first).not_to_contain_text(title)
    with Client(server.address) as client:
        assert list(client.catalogue.list_items(filter='colour = "glass green"')) == []


def test_what_a_product_is_called_is_text_and_nothing_else(shop: Shop, web: FetchServer, server: Running) -> None:
    page, dialog = shop.page, shop.page.get_by_role("dialog")
    title = '<img src=x onerror="document.title=1"> **bold** <b>x</b>'
    shop.open()
    page.get_by_role("button", name="Add a product").click()
    dialog.get_by_label("or the address of a picture").fill(web.url("/boots.jpg"))
    dialog.get_by_label("Title").fill(title)
    dialog.get_by_role("button", name="Add to the catalogue").click()
    expect(dialog).to_have_count(0)
    shop.follow(web.url("/boots.jpg"))
    card = shop.products.filter(has_text=title)
    expect(card).to_have_count(1)
    assert card.locator("b").count() == 0
    assert card.locator("img").count() == 1
    expect(page).to_have_title("clipsearch")
    with Client(server.address) as client:
        deleted = [item.id for item in client.catalogue.list_items() if item.metadata["title"] == title]
        client.catalogue.delete(deleted)
    assert len(deleted) == 1


@pytest.mark.parametrize(
    ("title", "content", "complaint"),
    [
        ("", b"", "What is the product called?"),
        ("A vase", None, "give at least one"),
        ("A vase", b"GIF89a and then nothing of the kind", "That is not a picture"),
    ],
)
def test_what_is_missing_is_told(shop: Shop, tmp_path: Path, title: str, content: bytes | None, complaint: str) -> None:
    dialog = shop.page.get_by_role("dialog")
    shop.open()
    shop.page.get_by_role("button", name="Add a product").click()
    if content is not None:
        (tmp_path / "vase.jpg").write_bytes(content or b"any")
        dialog.locator('input[type="file"]').set_input_files(tmp_path / "vase.jpg")
    dialog.get_by_label("Title").fill(title)
    dialog.get_by_role("button", name="Add to the catalogue").click()
    expect(dialog.get_by_test_id("stAlert")).to_contain_text(complaint)


def start_import(page: Page, path: str, metadata: str = "") -> None:
    page.get_by_label("Path below the server's imports directory").fill(path)
    page.get_by_label("Metadata file, if there is one").fill(metadata)
    page.get_by_role("button", name="Import").click()


def test_another_collection(shop: Shop, server: Running) -> None:
    with Client(server.address) as client:
        client.catalogue.create_collection("rarities")
        client.catalogue.upsert([rarity("a", 4000), rarity("b", 5000)], collection="rarities")
        shop.open("q=mug")
        shop.tick("Colour", "red")
        shop.all_cards_say("· red")
        shop.more_like(0)
        expect(shop.headline).to_contain_text("like ")
        shop.pick("Collection", "rarities")
        expect(shop.headline).to_have_text("All products")
        expect(shop.products).to_have_count(2)
        assert shop.prices() == [4000, 5000]
        client.catalogue.delete_collection("rarities")
    # It is gone meanwhile: the page goes on with the default one.
    shop.page.get_by_role("button", name="Search", exact=True).click()
    expect(shop.products).to_have_count(24)


def rarity(name: str, price: float) -> NewItem:
    return NewItem(name, text=f"a blue mauritius {name}", metadata={"title": f"Rarity {name}", "price": price})


@pytest.fixture(name="feed")
def _feed(catalogue: Path) -> Path:
    """So many pictures that their import can be watched."""
    feed = catalogue / "feed"
    feed.mkdir()
    for copy in range(20):
        for picture in (catalogue / "images").iterdir():
            (feed / f"{copy}-{picture.name}").hardlink_to(picture)
    return feed


@pytest.mark.usefixtures("feed")
def test_a_rebuild_and_an_import_are_watched(shop: Shop, screenshot: Screenshot) -> None:
    page = shop.page
    shop.open()
    page.get_by_role("link", name="Catalogue").click()
    expect(page.get_by_text("Newer than the index")).to_be_visible()
    expect(page.get_by_test_id("stMetric").filter(has_text="Products")).to_contain_text("300")
    page.get_by_role("button", name="Rebuild").click()
    expect(page.get_by_text("The rebuild of default is done")).to_be_visible()

    page.get_by_text("New collection").click()
    page.get_by_label("Name").fill("copies")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text("The collection copies is there.")).to_be_visible()
    expect(page.get_by_role("heading", name="The collection copies")).to_be_visible()
    start_import(page, "feed")
    expect(page.get_by_text(re.compile(r"Importing into copies: embedding [\d,]+ of 6,000"))).to_be_visible()
    growing = page.get_by_test_id("stMetric").filter(has_text="Products")
    expect(growing).to_contain_text(re.compile(r"\+[\d,]+ a second"))
    screenshot(page, "catalogue-desktop")
    page.get_by_role("link", name="Search").click()
    expect(page.get_by_test_id("stSidebar").get_by_text("Importing into copies")).to_be_visible()
    page.get_by_role("link", name="Catalogue").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The import into copies was cancelled")).to_be_visible()

    start_import(page, "images", "metadata.jsonl")
    expect(page.get_by_text("The import into copies is done")).to_be_visible()
    page.get_by_role("link", name="Search").click()
    expect(shop.products).to_have_count(24)
    expect(page.get_by_role("combobox", name="Collection")).to_have_value("copies")
    shop.pick("Collection", "default")
    expect(shop.products.first).to_be_visible()


def test_an_import_that_cannot_begin(shop: Shop) -> None:
    shop.open()
    shop.page.get_by_role("link", name="Catalogue").click()
    start_import(shop.page, "no-such-directory")
    shop.warns("no-such-directory")
