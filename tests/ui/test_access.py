"""The page on a phone, by keyboard, and for those who cannot see it."""

from pathlib import Path

from playwright.sync_api import Page, Route, expect

from tests.ui.conftest import Screenshot
from tests.ui.shop import Shop

OVERFLOWING = """() => [...document.querySelectorAll('[data-testid=stMain] *')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && one.offsetWidth > 0)
    .map(one => one.className.toString())"""

CUT_OFF = """() => [...document.querySelectorAll('[data-testid=stMain] :is(.card-title, .tags, .price, button p)')]
    .filter(one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display != 'inline')
    .map(one => one.textContent)"""


PLACES = """() => [...document.querySelectorAll("article.product")].map(one => {
    const top = document.querySelector(".headline").getBoundingClientRect().top;
    const box = one.getBoundingClientRect();
    return [box.left, box.top - top, box.width, box.height];
})"""

PLACES_AT_REST = f"""() => new Promise(done => {{
    let before = "", alike = 0;
    const look = () => {{
        const places = ({PLACES})(), now = JSON.stringify(places);
        alike = now === before ? alike + 1 : 0;
        before = now;
        if (alike >= 30) done(places); else requestAnimationFrame(look);
    }};
    look();
}})"""
"""Once they stay for half a second: letters take other room when their fonts have come, some of them late."""

SIDE_BY_SIDE = """count => {
    const tops = [...document.querySelectorAll("article.product")].map(one => one.getBoundingClientRect().top);
    return tops.length > count && tops.every((top, place) => place >= count ? top > tops[0] : top === tops[0]);
}"""
"""All in one look: the page may still scroll to its top, which moves every product alike."""


def test_a_phone(phone: Page, address: str, screenshot: Screenshot) -> None:
    shop = Shop(phone, address)
    shop.open("q=a+yellow+backpack")
    assert phone.evaluate(OVERFLOWING) == []
    assert phone.evaluate(CUT_OFF) == []
    phone.wait_for_function(SIDE_BY_SIDE, arg=2)
    screenshot(phone, "search-phone")
    phone.get_by_test_id("stExpandSidebarButton").tap()
    expect(phone.get_by_test_id("stSidebar").get_by_text("Colour", exact=True)).to_be_in_viewport()
    screenshot(phone, "filters-phone")
    shop.tick("Colour", "yellow")
    shop.all_cards_say("· yellow")


def test_details_on_a_phone(phone: Page, address: str, screenshot: Screenshot) -> None:
    shop = Shop(phone, address)
    shop.open("q=a+lamp")
    phone.get_by_role("button", name="Details").first.tap()
    expect(phone.get_by_role("dialog").locator("h2.product-title")).to_be_visible()
    box = phone.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    screenshot(phone, "details-phone")


def test_nothing_moves_when_pictures_arrive(shop: Shop) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    shop.page.route("**/pictures/**", hold)
    shop.open("q=a+hat")
    without = shop.page.evaluate(PLACES_AT_REST)
    assert len(without) == 24
    assert held
    shop.page.unroute("**/pictures/**")  # lets go of those that are held
    shop.page.wait_for_function("document.querySelector('article.product img').naturalWidth > 0")
    assert shop.page.evaluate(PLACES) == without


def test_the_keyboard_is_enough(shop: Shop) -> None:
    shop.open()
    keys = shop.page.keyboard
    shop.page.get_by_label("What are you looking for?").focus()
    keys.type("a straw hat")
    keys.press("Enter")
    expect(shop.headline).to_have_text("“a straw hat”")
    shop.rested()
    title = shop.titles()[0]
    tab_to(shop.page, "More like this")
    outline = shop.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus is visible"
    keys.press("Tab")
    keys.press("Enter")
    dialog = shop.page.get_by_role("dialog")
    expect(dialog).to_contain_text(title)
    keys.press("Escape")
    expect(dialog).to_have_count(0)
    tab_to(shop.page, "More like this")
    keys.press("Enter")
    expect(shop.headline).to_contain_text("like ")
    shop.rested()
    tab_to(shop.page, "Next")
    keys.press("Space")
    expect(shop.page.get_by_text("Page 2", exact=True)).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is on a button of this name, which must be soon."""
    for _ in range(150):
        page.keyboard.press("Tab")
        if name in page.evaluate("document.activeElement.tagName == 'BUTTON' ? document.activeElement.innerText : ''"):
            return
    raise AssertionError(f"no button {name!r} was reached")


def test_every_picture_and_field_has_a_name(shop: Shop, catalogue: Path) -> None:
    shop.open()
    shop.upload(next((catalogue / "images").glob("*.jpg")))
    expect(shop.headline).to_contain_text("like ")
    nameless = """() => [...document.querySelectorAll('[data-testid=stApp] :is(img, input, button, textarea)')]
        .filter(one => one.offsetParent && one.type != 'file')
        .filter(one => one.tagName == 'IMG' ? !one.hasAttribute('alt')
            : !(one.ariaLabel || one.textContent || one.labels?.length || one.getAttribute('aria-labelledby')))
        .map(one => one.outerHTML.slice(0, 200))"""
    assert shop.page.evaluate(nameless) == []
    assert shop.page.locator("html").get_attribute("lang") == "en"


def test_contrast(shop: Shop) -> None:
    """What is written is legible: at least 4.5 to 1, as WCAG 2 AA asks of small text."""
    shop.open("q=a+hat")
    weak = shop.page.evaluate((Path(__file__).parent / "contrast.js").read_text(encoding="utf-8"))
    assert weak == []
