"""The page as a visitor uses it: by what is written on it, waiting for what must appear."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from clipsearch_demo.demo import free_port

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
TIMEOUT_MS = 30_000

_IS_WHOLE = """() => {
    const said = /(\\d+) products?/.exec(document.querySelector(".headline p")?.textContent ?? "");
    return document.querySelectorAll("article.product").length === Number(said?.[1] ?? 0);
}"""
"""As many products as the headline says, or none and no word of any: it may be drawn later than they are."""

expect.set_options(timeout=TIMEOUT_MS)


@contextmanager
def page_process(server: str, work: Path, *flags: str) -> Iterator[str]:
    """Run ``clipsearch ui`` and yield the address of its page."""
    listen = f"127.0.0.1:{free_port(0)}"
    command = [sys.executable, "-m", "clipsearch", "ui", "--server", server, "--listen", listen]
    command += ["--uploads", str(work / "uploads"), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            said = ""
            for line in process.stdout:
                said += line
                if match := re.search(r"http://\S+", line):
                    with urllib.request.urlopen(match[0]) as answer:
                        assert answer.status == 200
                    yield match[0]
                    break
            else:
                raise AssertionError(f"the page did not start: {said}")
        finally:
            process.terminate()
            process.stdout.read()


class Shop:
    """One visitor's page."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address

    def open(self, query: str = "") -> None:
        """Open the page, with a query as its links have it, and wait until it is whole."""
        self.page.goto(f"{self.address}/?{query}")
        expect(self.products.first).to_be_visible()
        self.rested()

    @property
    def products(self) -> Locator:
        return self.page.locator("article.product")

    @property
    def headline(self) -> Locator:
        return self.page.locator(".headline h2")

    def warns(self, text: str) -> None:
        """Wait until the page's one message has this text: while a script runs, the message before it still stands."""
        alert = self.page.get_by_test_id("stAlert")
        expect(alert.filter(has_text=text).first).to_be_visible()
        expect(alert).to_have_count(1)

    def rested(self) -> None:
        """Wait until the script has run to its end and all that it made is drawn, which is a little later."""
        expect(self.page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        self.page.wait_for_function(_IS_WHOLE)

    def search(self, text: str) -> None:
        field = self.page.get_by_label("What are you looking for?")
        field.fill(text)
        field.press("Enter")
        expect(self.headline).to_contain_text(text)
        self.rested()

    def avoid(self, text: str) -> None:
        field = self.page.get_by_label("But not")
        field.fill(text)
        field.press("Enter")
        expect(self.headline).to_contain_text("without")
        self.rested()

    def upload(self, path: Path) -> None:
        self.page.get_by_role("button", name="Search by picture").click()
        self.page.locator('input[type="file"]').set_input_files(path)

    def follow(self, url: str) -> None:
        """Search by the picture behind a link."""
        self.page.get_by_role("button", name="Search by picture").click()
        self.choose_source("Link")
        field = self.page.get_by_label("Address of the picture")
        field.fill(url)
        field.press("Enter")

    def choose_source(self, name: str) -> None:
        """Choose where the picture comes from, in the open menu."""
        self.page.get_by_role("radiogroup", name="Where is it?").get_by_text(name).click()

    def tick(self, label: str, value: str) -> None:
        """Tick a value of a filter that lies open."""
        values = self.page.get_by_role("toolbar", name=label, exact=True)
        values.get_by_role("button", name=re.compile(rf"^{re.escape(value)} \(")).click()

    def pick(self, label: str, value: str) -> None:
        """Pick a value from a list in the sidebar."""
        field = self.page.get_by_test_id("stSidebar").get_by_role("combobox", name=label)
        field.fill(value)
        self.page.get_by_role("option").filter(has_text=re.compile(rf"^{re.escape(value)}( \(|$)")).click()
        field.press("Escape")

    def more_like(self, place: int) -> None:
        """Press the button of a card; those of the cards before it may be drawn later, so they are not counted."""
        self.page.locator(f".st-key-product-card-{place}").get_by_role("button", name="More like this").click()

    def all_cards_say(self, text: str) -> None:
        """Wait until there are products, and a text on every one."""
        expect(self.products.first).to_contain_text(text, ignore_case=True)
        expect(self.products.filter(has_not_text=text)).to_have_count(0)

    def all_prices_are_at_most(self, limit: float) -> None:
        """Wait until no product that is shown costs more."""
        script = """limit => { const prices = [...document.querySelectorAll("article.product .price")];
            return prices.length > 0 && prices.every(one => Number(one.textContent.replace(",", "")) <= limit) }"""
        self.page.wait_for_function(script, arg=limit)

    def titles(self) -> list[str]:
        return [title.strip() for title in self.products.locator("h3").all_inner_texts()]

    def tags(self) -> list[str]:
        """Category and colour of each product, as its card says them."""
        return [text.strip() for text in self.products.locator(".tags").all_inner_texts()]

    def prices(self) -> list[float]:
        return [float(price.replace(",", "")) for price in self.products.locator(".price").all_inner_texts()]

    def scores(self) -> list[float]:
        return [float(text.split()[-1]) for text in self.products.locator(".score").all_inner_texts()]
