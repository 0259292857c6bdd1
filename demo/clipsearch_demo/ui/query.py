"""What a visitor looks for, and the weighted terms that it is searched by."""

from collections.abc import Sequence
from dataclasses import dataclass

from clipsearch.client import Query

DEFAULT_PICTURE_SHARE = 0.5
DEFAULT_AVERSION = 0.4
"""How much a "not this" counts against what is wanted, which counts 1. The sample model keeps a dress a dress at it."""


@dataclass(frozen=True, slots=True)
class Example:
    """A picture to search by: one that the visitor brought, or that of an item ("more like this").

    ``name`` is what the page calls it, ``thumbnail`` the address that shows it.
    """

    name: str
    thumbnail: str
    content: bytes = b""
    item_id: str = ""

    def as_query(self) -> Query:
        """Return it as a term of a search."""
        return Query(item_id=self.item_id) if self.item_id else Query(image=self.content)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for: words, an example, or both; and what to look away from.

    ``picture_share`` is how much the example counts beside the words, from 0 to 1; ``aversion`` how much all that is in
    ``without`` counts, together, against both.
    """

    text: str = ""
    example: Example | None = None
    picture_share: float = DEFAULT_PICTURE_SHARE
    without: tuple[str, ...] = ()
    aversion: float = DEFAULT_AVERSION

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look for: looking away alone finds nothing in particular."""
        return not self.text.strip() and self.example is None

    @property
    def is_composed(self) -> bool:
        """Whether the words and the example are weighed against each other."""
        return bool(self.text.strip()) and self.example is not None

    def exclude_ids(self) -> tuple[str, ...]:
        """The item that others are to be like is no news to anybody."""
        return (self.example.item_id,) if self.example is not None and self.example.item_id else ()

    def terms(self) -> list[tuple[Query, float]]:
        """Return the queries and their weights, none of which is 0; ValueError where there is nothing to look for."""
        if self.is_empty:
            raise ValueError("there is nothing to look for")
        share = self.picture_share if self.is_composed else float(self.example is not None)
        wanted: list[tuple[Query, float]] = []
        if self.example is not None and share > 0:
            wanted.append((self.example.as_query(), share))
        if self.text.strip() and share < 1:
            wanted.append((Query(text=self.text), 1 - share))
        unwanted = [text for text in self.without if text.strip()]
        return wanted + [(Query(text=text), -self.aversion / len(unwanted)) for text in unwanted if self.aversion > 0]


def described(wanted: Wanted) -> str:
    """Return a search in words, for a heading."""
    parts: Sequence[str] = [
        f"“{wanted.text.strip()}”" if wanted.text.strip() else "",
        f"like {wanted.example.name}" if wanted.example is not None else "",
    ]
    said = " and ".join(part for part in parts if part)
    return f"{said}, without {' or '.join(wanted.without)}" if wanted.without else said
