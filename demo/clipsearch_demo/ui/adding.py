"""Adding a product: its pictures, and what is said about it."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from clipsearch.client import ClientError, Facets, NewItem
from clipsearch_demo.ui.connection import client, options, pictures
from clipsearch_demo.ui.downloads import MAX_PICTURE_BYTES, picture_behind
from clipsearch_demo.ui.messages import Complaint, Message, of_picture
from clipsearch_demo.ui.notices import show, show_failure
from clipsearch_demo.ui.pictures import SUFFIXES, NotAPicture
from clipsearch_demo.ui.roles import Roles
from clipsearch_demo.ui.state import state

PICTURE_MISSING = Message("A picture is missing", "Products are found by their pictures: give at least one.")
TITLE_MISSING = Message("A title is missing", "What is the product called?")


@dataclass(frozen=True, slots=True)
class Draft:
    """What a visitor filled in."""

    title: str
    price: float | None
    category: str
    colour: str
    text: str
    pictures: Sequence[bytes]
    link: str


@st.dialog("Add a product", width="medium")
def show_adding(collection: str, roles: Roles, known: Facets) -> None:
    """Ask for a product, over the page, and store it."""
    with st.form("add-form", border=False):
        files = st.file_uploader(
            "Pictures",
            type=sorted(SUFFIXES),
            accept_multiple_files=True,
            key="add-pictures",
            max_upload_size=MAX_PICTURE_BYTES // 2**20,
            help="Several pictures of the same product make it easier to find.",
        )
        link = st.text_input("or the address of a picture", key="add-link", placeholder="https://…")
        title = st.text_input("Title", key="add-title", max_chars=200)
        with st.container(horizontal=True):
            category = st.selectbox(
                "Category", _values(known, roles.category), index=None, accept_new_options=True, key="add-category"
            )
            colour = st.selectbox(
                "Colour", _values(known, roles.colour), index=None, accept_new_options=True, key="add-colour"
            )
            price = st.number_input("Price", min_value=0.0, value=None, step=0.5, format="%.2f", key="add-price")
        text = st.text_area("Description", key="add-text", max_chars=2000, height=90)
        asked = st.form_submit_button("Add to the catalogue", type="primary", key="add-now")
    if not asked:
        return
    contents = [file.getvalue() for file in files]
    draft = Draft(title.strip(), price, category or "", colour or "", text.strip(), contents, link.strip())
    try:
        _add(draft, collection, roles)
    except Complaint as complaint:
        show(complaint.message)
    except ClientError as error:
        show_failure(error)
    else:
        st.rerun()


def _add(draft: Draft, collection: str, roles: Roles) -> None:
    """Store a product; raises Complaint about what was filled in, and ClientError where the server refuses it."""
    if not draft.title:
        raise Complaint(TITLE_MISSING)
    contents = list(draft.pictures)
    if draft.link:
        contents.append(picture_behind(draft.link, allow_private=options().allow_private_urls))
    if not contents:
        raise Complaint(PICTURE_MISSING)
    try:
        uris = [pictures().keep(content) for content in contents]
    except NotAPicture as error:
        raise Complaint(of_picture(error)) from error
    item = NewItem(item_id(draft.title), image=contents, metadata=metadata(draft, roles), uri=uris[0])
    written = client().catalogue.upsert([item], collection=collection, priority="interactive")
    (result,) = written.results
    if isinstance(result, ClientError):
        raise result
    state().wrote(f"“{draft.title}” is in the catalogue.")


def item_id(title: str) -> str:
    """Return a new id that a person can tell from others."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].rstrip("-")
    return f"{slug or 'product'}-{uuid.uuid4().hex[:8]}"


def metadata(draft: Draft, roles: Roles) -> dict[str, Any]:
    """Return a product's metadata, in the fields that the catalogue's other products use."""
    given: dict[str, Any] = {
        roles.title: draft.title,
        roles.price: draft.price,
        roles.category: draft.category,
        roles.colour: draft.colour,
        roles.text: draft.text,
    }
    return {name: value for name, value in given.items() if value not in {None, ""}}


def _values(known: Facets, field: str) -> list[str]:
    facet = known.fields.get(field)
    return sorted(str(one.value) for one in facet.values) if facet is not None else []
