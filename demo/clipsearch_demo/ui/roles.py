"""Which metadata fields of a catalogue play which part on a card; shops name them differently."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_TITLES = ("title", "name", "product_name", "label")
_PRICES = ("price", "price_eur", "price_usd", "price_gbp", "amount")
_CATEGORIES = ("category", "kind", "type", "product_type", "department")
_COLOURS = ("colour", "color", "base_colour", "baseColour")
_TEXTS = ("description", "caption", "text", "summary")
_PICTURES = ("image", "picture", "image_url", "picture_url", "img", "thumbnail", "link")


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the fields; where a catalogue has none for a part, the name that a new item would use."""

    title: str = "title"
    price: str = "price"
    category: str = "category"
    colour: str = "colour"
    text: str = "description"

    @classmethod
    def found(cls, fields: Collection[str]) -> "Roles":
        """Return the parts that the fields of a catalogue play."""
        return cls(
            title=_first(_TITLES, fields),
            price=_first(_PRICES, fields),
            category=_first(_CATEGORIES, fields),
            colour=_first(_COLOURS, fields),
            text=_first(_TEXTS, fields),
        )


def _first(names: tuple[str, ...], fields: Collection[str]) -> str:
    return next((name for name in names if name in fields), names[0])


def title_of(roles: Roles, item_id: str, metadata: Mapping[str, Any]) -> str:
    """Return what an item is called; its id where nothing else says so."""
    return str(metadata.get(roles.title) or item_id)


def price_of(roles: Roles, metadata: Mapping[str, Any]) -> str:
    """Return an item's price as it is shown: with cents where it is a number; empty where there is none."""
    price = metadata.get(roles.price)
    if isinstance(price, bool) or price is None:
        return ""
    return f"{price:,.2f}" if isinstance(price, int | float) else str(price)


def picture_fields(metadata: Mapping[str, Any]) -> list[str]:
    """Return what the fields that name pictures hold, the likeliest first; of several pictures the first."""
    found: list[str] = []
    for name in _PICTURES:
        value = metadata.get(name)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, str) and first:
            found.append(first)
    return found
