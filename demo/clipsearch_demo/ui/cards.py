"""The grid of products."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from clipsearch.client import Hit, Item
from clipsearch_demo.ui import markup
from clipsearch_demo.ui.connection import pictures
from clipsearch_demo.ui.details import forget_deletion, show_details
from clipsearch_demo.ui.query import Example
from clipsearch_demo.ui.roles import Roles, title_of
from clipsearch_demo.ui.searchbar import look_like


@dataclass(frozen=True, slots=True)
class Product:
    """A product to be shown; ``score`` is None where it was not searched for."""

    id: str
    uri: str
    metadata: Mapping[str, Any]
    score: float | None

    @classmethod
    def of_hit(cls, hit: Hit) -> "Product":
        """Return a hit of a search with the view ``metadata``."""
        return cls(hit.id, hit.uri, hit.metadata or {}, hit.score)

    @classmethod
    def of_item(cls, item: Item) -> "Product":
        """Return an item of a listing."""
        return cls(item.id, item.uri, item.metadata, None)


def grid(products: Sequence[Product], roles: Roles, collection: str) -> None:
    """Show products side by side, as many as fit."""
    with st.container(key="results"):
        for place, product in enumerate(products):
            _card(place, product, roles, collection)


def _card(place: int, product: Product, roles: Roles, collection: str) -> None:
    address = pictures().address(product.uri, product.metadata)
    title = title_of(roles, product.id, product.metadata)
    with st.container(key=f"product-card-{place}"):
        st.html(markup.card(address, product.id, product.metadata, product.score, roles))
        with st.container(key=f"product-buttons-{place}", horizontal=True):
            st.button(
                "More like this",
                key=f"like-{place}",
                on_click=look_like,
                args=(Example(name=title, thumbnail=address, item_id=product.id),),
            )
            if st.button("Details", key=f"details-{place}", type="tertiary"):
                forget_deletion()
                show_details(product.id, collection, roles)
