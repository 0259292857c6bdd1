"""What the page remembers of one visitor from one run of the script to the next, beside what its widgets hold."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import streamlit as st

from clipsearch.client import Item, SearchResult
from clipsearch_demo.ui.query import Example, Wanted

PAGE_SIZES = (12, 24, 48)


@dataclass(frozen=True, slots=True)
class Search:
    """All that decides which products are shown: what is wanted, where, under which condition, how many to a page."""

    wanted: Wanted
    collection: str
    condition: str
    page_size: int


@dataclass(slots=True)
class Browsing:
    """A look through a collection without a query: the items read so far, and where the next ones come from."""

    source: Iterator[Item]
    items: list[Item] = field(default_factory=list)

    def page(self, number: int, size: int) -> list[Item]:
        """Return the items of a page, counted from 0, reading as far as to know whether another one follows."""
        while len(self.items) <= (number + 1) * size:
            item = next(self.source, None)
            if item is None:
                break
            self.items.append(item)
        return self.items[number * size : (number + 1) * size]

    def goes_on_after(self, number: int, size: int) -> bool:
        """Return whether there is a page after one that was read."""
        return len(self.items) > (number + 1) * size


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of a page: of which search, page and state of the catalogue, and the seconds until they were here."""

    key: tuple[Search, int, int]
    result: SearchResult
    seconds: float


@dataclass(slots=True)
class State:
    """One visitor's page. ``page_tokens`` are those of the pages seen so far, by which one can go back to them."""

    example: Example | None = None
    example_round: int = 0
    """Part of the names of the picture widgets: another round is another, empty widget."""
    filter_round: int = 0
    """The same for the filters."""
    search: Search | None = None
    page: int = 0
    page_tokens: list[str] = field(default_factory=lambda: [""])
    answer: Answer | None = None
    browsing: Browsing | None = None
    written: int = 0
    """How often something was added or deleted from here: answers from before are out of date."""
    turns: int = 0
    """How often other products took the place of those that were shown."""
    notice: str = ""
    """What the last click did; shown once."""

    def show(self, search: Search) -> None:
        """Note what is to be shown; a search that differs from the last one starts at its first page."""
        if search != self.search:
            self.search, self.page, self.page_tokens = search, 0, [""]
            self.answer, self.browsing = None, None
            self.turns += 1

    def turn(self, pages: int) -> None:
        """Go so many pages on, or back."""
        self.page += pages
        self.turns += 1

    def wrote(self, notice: str) -> None:
        """Note a write: what is shown must be looked up again. Pages go on where they were, their tokens stay good."""
        self.written += 1
        self.notice = notice
        self.browsing = None

    def leave_collection(self) -> None:
        """Forget what is of the collection that was shown: what was ticked, and the item that others are to be like."""
        self.filter_round += 1
        if self.example is not None and self.example.item_id:
            self.set_example(None)

    def set_example(self, example: Example | None) -> None:
        """Search by another picture, or by none."""
        self.example = example
        self.example_round += 1


def state() -> State:
    """Return this visitor's state."""
    if "state" not in st.session_state:
        st.session_state.state = State()
    found: State = st.session_state.state
    return found
