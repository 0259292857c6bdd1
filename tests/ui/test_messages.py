"""What the page says when something is wrong."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from clipsearch.access.file import editing
from clipsearch.access.keys import new_key
from clipsearch.access.scopes import Scope
from clipsearch_demo.demo import free_port
from tests.fetch_server import FetchServer
from tests.integration.support import Running
from tests.ui.conftest import Screenshot, settings
from tests.ui.shop import Shop, page_process


def test_a_server_that_is_away_and_comes_back(page: Page, tmp_path: Path, screenshot: Screenshot) -> None:
    listen = f"127.0.0.1:{free_port(0)}"
    with page_process(listen, tmp_path) as address:
        shop = Shop(page, address)
        page.goto(address)
        shop.warns("The server is away")
        shop.warns(listen)
        page.get_by_role("button", name="Try again").click()
        shop.warns("The server is away")
        screenshot(page, "away-desktop")
        with Running(settings(tmp_path / "data", listen)):
            shop.warns("This collection has no products.")
        page.get_by_role("button", name="Search", exact=True).click()
        shop.warns("The server is away")


@pytest.mark.parametrize("scopes", [(Scope.READ,), (Scope.READ, Scope.WRITE), tuple(Scope)])
def test_a_server_that_wants_a_key(page: Page, data: Path, tmp_path: Path, scopes: tuple[Scope, ...]) -> None:
    whole, key = new_key("page", scopes, None, "now")
    with editing(tmp_path / "keys.json") as known:
        known.append(key)
    copy = shutil.copytree(data, tmp_path / "data")
    with Running(settings(copy, keys_file=tmp_path / "keys.json")) as running:
        with page_process(running.address, tmp_path) as address:
            page.goto(address)
            Shop(page, address).warns("The server does not know this page")
        with page_process(running.address, tmp_path, "--api-key", whole) as address:
            shop = Shop(page, address)
            shop.open("q=a+mug")
            assert len(shop.titles()) == 24


def test_an_upload_that_is_not_a_picture(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("milk, bread, eggs")
    shop.open("q=a+mug")
    titles = shop.titles()
    shop.upload(tmp_path / "notes.jpg")
    shop.warns("That is not a picture")
    expect(shop.headline).to_have_text("“a mug”")
    assert shop.titles() == titles


def test_a_picture_that_is_cut_off(shop: Shop, catalogue: Path, tmp_path: Path) -> None:
    whole = next((catalogue / "images").glob("mug-*.jpg")).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    shop.open()
    shop.upload(tmp_path / "half.jpg")
    shop.warns("That is not a picture")


def test_a_link_to_something_else(shop: Shop, web: FetchServer) -> None:
    shop.open()
    shop.follow(web.url("/page.html"))
    shop.warns("That is not a picture")
    shop.follow(web.url("/status/404"))
    shop.warns("404")
    expect(shop.headline).to_have_text("All products")


def test_the_page_fetches_nothing_from_inside_unless_it_is_allowed(
    page: Page, server: Running, web: FetchServer, tmp_path: Path
) -> None:
    with page_process(server.address, tmp_path) as address:
        shop = Shop(page, address)
        shop.open()
        asked = web.asked["/boots.jpg"]
        shop.follow(web.url("/boots.jpg"))
        shop.warns("That link gives no picture")
        assert web.asked["/boots.jpg"] == asked
        # Without a directory of pictures there are none, and the cards say so.
        expect(page.locator(".frame-empty")).to_have_count(24)
