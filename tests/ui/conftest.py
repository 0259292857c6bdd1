"""A real server with a few hundred drawn products, the page in a process of its own, and a real browser before it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page, expect, sync_playwright

from clipsearch.settings import Settings
from clipsearch_demo.catalogue.write import write_catalogue
from tests.fetch_server import FetchServer
from tests.integration.support import SAMPLE_BUNDLE, Running
from tests.ui.shop import BROWSER_FLAGS, BROWSERS, TIMEOUT_MS, Shop, page_process

ITEMS = 300
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ui-screenshots", type=Path, help="Write pictures of the page into this directory.")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium of the system, without a window."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(BROWSER_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("catalogue")
    write_catalogue(directory, ITEMS, seed=1, processes=2, progress=False)
    return directory


@pytest.fixture(scope="session")
def data(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server: the catalogue in its default collection."""
    from clipsearch.cli.index import index

    out = tmp_path_factory.mktemp("data")
    arguments = ["build", str(catalogue / "images"), "--bundle", str(SAMPLE_BUNDLE)]
    arguments += ["--metadata", str(catalogue / "metadata.jsonl"), "--out", str(out / "default")]
    result = CliRunner().invoke(index, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def settings(data: Path, listen: str = "127.0.0.1:0", **more: object) -> Settings:
    return Settings.model_validate({"bundle": SAMPLE_BUNDLE, "data": data, "listen": listen, "device": "cpu", **more})


@pytest.fixture(scope="session")
def server(data: Path, catalogue: Path) -> Iterator[Running]:
    with Running(settings(data, imports=catalogue)) as running:
        yield running


@pytest.fixture(scope="session")
def address(server: Running, catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is, for which the test's own web server may be asked for pictures."""
    work = tmp_path_factory.mktemp("page")
    flags = ["--pictures", str(catalogue), "--allow-private-urls"]
    with page_process(server.address, work, *flags) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A visitor's window, as large as a laptop's; errors, and requests to anybody else, fail the test."""
    with browser.new_context(viewport=DESKTOP) as context:  # type: ignore[arg-type]
        yield from watched(context.new_page())


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """A visitor's phone."""
    with browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True) as context:  # type: ignore[arg-type]
        yield from watched(context.new_page())


def watched(page: Page) -> Iterator[Page]:
    page.set_default_timeout(TIMEOUT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    # The page needs nobody else: no fonts, no icons, no usage data.
    page.on("request", lambda request: errors.append(request.url) if is_foreign(request.url) else None)
    yield page
    assert errors == []
    expect(page.get_by_test_id("stException")).to_have_count(0)


def is_foreign(url: str) -> bool:
    return url.startswith(("http", "ws")) and urlsplit(url).hostname != "127.0.0.1"


@pytest.fixture
def shop(page: Page, address: str) -> Shop:
    return Shop(page, address)


@pytest.fixture(scope="session")
def web(catalogue: Path) -> Iterator[FetchServer]:
    """A web server with a picture, and with a page that is none."""
    picture = next((catalogue / "images").glob("boots-*.jpg"))
    with FetchServer({"/boots.jpg": picture.read_bytes(), "/page.html": b"<h1>no picture</h1>"}) as server:
        yield server


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> "Screenshot":
    return Screenshot(request.config.getoption("--ui-screenshots", default=None))


class Screenshot:
    """Keeps pictures of the page for the documentation, where that was asked for."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def __call__(self, page: Page, name: str) -> None:
        if self._directory is None:
            return
        expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        page.wait_for_function("[...document.images].every(image => image.complete || image.loading == 'lazy')")
        self._directory.mkdir(parents=True, exist_ok=True)
        # Without what passes by: it would be another picture each time.
        style = "[data-testid=stToast] { display: none } [data-stale=true] { opacity: 1 !important }"
        path = self._directory / f"{name}.jpg"
        page.screenshot(path=path, type="jpeg", quality=82, animations="disabled", style=style)
