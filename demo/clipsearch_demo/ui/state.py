"""What the page remembers of one visitor, from one run of the script to the next."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import streamlit as st

from clipsearch.client import Hit, Item, SearchResult
from clipsearch_demo.ui.query import Wanted

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
    """A look through a collection without a search: the items read so far, and where the next ones come from."""

    source: Iterator[Item]
    items: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class Answer:
    """The page of hits that is shown, of which search and page it is, and the seconds until it was there."""

    key: tuple[Search, int, int]
    result: SearchResult
    seconds: float


@dataclass(slots=True)
class State:
    """One visitor's page. ``page_tokens`` are those of the pages seen so far, by which one can go back to them."""

    wanted: Wanted = field(default_factory=Wanted)
    collection: str = ""
    page_size: int = PAGE_SIZES[1]
    page: int = 0
    page_tokens: list[str] = field(default_factory=lambda: [""])
    shown: Search | None = None
    answer: Answer | None = None
    browsing: Browsing | None = None
    written: int = 0
    """How many times something was added or deleted from here: an answer from before is out of date."""
    reached: int = 0
    """The sequence number of the last write from here, which a search must have seen."""
    notice: str = ""
    """What the last click did, shown once."""
    filter_round: int = 0
    """Part of the filters' names, so that taking all of them away starts them anew."""

    def look_for(self, wanted: Wanted) -> None:
        """Start another search, from its first page."""
        self.wanted = wanted
        self.first_page()

    def first_page(self) -> None:
        """Forget the pages: they are of another search."""
        self.page, self.page_tokens = 0, [""]
        self.browsing = None

    def wrote(self, sequence_number: int, notice: str) -> None:
        """Note a write, so that the next look sees it."""
        self.written += 1
        self.reached = max(self.reached, sequence_number)
        self.notice = notice
        self.browsing = None


def state() -> State:
    """Return this visitor's state."""
    if "state" not in st.session_state:
        st.session_state.state = State()
    found: State = st.session_state.state
    return found


def hits_of(items: list[Item]) -> list[Hit]:
    """Return items as hits without a score, to be shown as those are."""
    return [Hit(id=item.id, score=0.0, metadata=item.metadata, vector=None) for item in items]
