"""What a visitor wants, as terms of a search."""

import pytest

from clipsearch_demo.ui.query import Example, Wanted, described

PHOTO = Example(name="photo.jpg", thumbnail="", content=b"photo")
ITEM = Example(name="A boot", thumbnail="", item_id="boot-1")


def weights(wanted: Wanted) -> list[tuple[str, float]]:
    return [
        (query.text or query.item_id or query.image.decode(), pytest.approx(weight))  # type: ignore[union-attr]
        for query, weight in wanted.terms()
    ]


@pytest.mark.parametrize(
    ("wanted", "terms"),
    [
        (Wanted("a boot"), [("a boot", 1.0)]),
        (Wanted(example=PHOTO), [("photo", 1.0)]),
        (Wanted(example=PHOTO, picture_share=0.2), [("photo", 1.0)]),
        (Wanted("red", ITEM), [("boot-1", 0.5), ("red", 0.5)]),
        (Wanted("red", ITEM, 0.25), [("boot-1", 0.25), ("red", 0.75)]),
        (Wanted("red", ITEM, 0.0), [("red", 1.0)]),
        (Wanted("red", ITEM, 1.0), [("boot-1", 1.0)]),
        (Wanted("red", None, 0.5, ("stripes",), 0.4), [("red", 1.0), ("stripes", -0.4)]),
        (Wanted("red", None, 0.5, ("stripes", " ", "dots"), 0.4), [("red", 1.0), ("stripes", -0.2), ("dots", -0.2)]),
        (Wanted("red", None, 0.5, ("stripes",), 0.0), [("red", 1.0)]),
    ],
)
def test_terms(wanted: Wanted, terms: list[tuple[str, float]]) -> None:
    assert weights(wanted) == terms


@pytest.mark.parametrize("nothing", [Wanted(), Wanted("  \n"), Wanted("", None, 0.5, ("red",))])
def test_nothing_to_look_for(nothing: Wanted) -> None:
    assert nothing.is_empty
    with pytest.raises(ValueError, match="nothing to look for"):
        nothing.terms()


def test_what_is_like_an_item_is_others() -> None:
    assert Wanted(example=ITEM).exclude_ids() == ("boot-1",)
    assert Wanted("red", PHOTO).exclude_ids() == ()
    assert Wanted("red").exclude_ids() == ()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(" red "), "“red”"),
        (Wanted(example=PHOTO), "like photo.jpg"),
        (Wanted("red", ITEM, 0.5, ("dots", "stripes")), "“red” and like A boot, without dots or stripes"),
    ],
)
def test_described(wanted: Wanted, words: str) -> None:
    assert described(wanted) == words
