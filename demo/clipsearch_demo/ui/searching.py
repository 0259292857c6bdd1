"""The view that one searches in."""

import time

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clipsearch.client import ClientError, Facets
from clipsearch_demo.ui import markup, messages
from clipsearch_demo.ui.adding import show_adding
from clipsearch_demo.ui.cards import Product, grid
from clipsearch_demo.ui.collection_picker import pick_collection
from clipsearch_demo.ui.connection import client, facets
from clipsearch_demo.ui.filters import filters
from clipsearch_demo.ui.notices import show
from clipsearch_demo.ui.progress import jobs_in_brief
from clipsearch_demo.ui.query import described
from clipsearch_demo.ui.roles import Roles
from clipsearch_demo.ui.searchbar import searchbar
from clipsearch_demo.ui.state import PAGE_SIZES, Answer, Browsing, Search, State, state


def searching(top: DeltaGenerator) -> None:
    """Show the view, with the button to add a product in ``top``; raises ClientError where the server cannot answer."""
    seen = state()
    with st.sidebar:
        collection = pick_collection()
        known = facets(collection, seen.written)
        roles = Roles.found(known.fields)
        condition = filters(known, roles)
        page_size = st.selectbox("Products on a page", PAGE_SIZES, index=1, key="page_size", persist_state="session")
        jobs_in_brief()
    with top, st.container(key="add-here", width="content"):
        if st.button("Add a product", key="add", icon=":material/add:"):
            show_adding(collection, roles, known)
    wanted = searchbar()
    search = Search(wanted, collection, condition, page_size)
    seen.show(search)
    st.html(markup.to_the_top(seen.turns), unsafe_allow_javascript=True)
    if wanted.is_empty:
        if wanted.without:
            show(messages.ONLY_UNWANTED)
        _browse(seen, search, roles, known)
    else:
        _found(seen, search, roles)


def _found(seen: State, search: Search, roles: Roles) -> None:
    answer = _answer(seen, search)
    products = [Product.of_hit(hit) for hit in answer.result.hits]
    _headline(described(search.wanted), seen.page, len(products), "best first")
    if not products:
        show(messages.NO_MORE if seen.page else messages.NOTHING_MATCHES, icon=":material/search_off:")
    if answer.result.truncated:
        st.caption("The text is longer than the model reads; its end was left out.")
    grid(products, roles, search.collection)
    _pager(seen, bool(answer.result.next_page_token))
    st.html(markup.latency(answer.result.timings, answer.seconds, answer.result.sequence_number))


def _answer(seen: State, search: Search) -> Answer:
    """Return the hits of the page that is shown, asking the server unless nothing changed since the last run."""
    key = (search, seen.page, seen.written)
    if seen.answer is not None and seen.answer.key == key:
        return seen.answer
    token = seen.page_tokens[seen.page]
    started = time.perf_counter()
    result = client().search(
        terms=search.wanted.terms(),
        top_k=search.page_size,
        view="metadata",
        collection=search.collection,
        filter=search.condition,
        exclude_ids=search.wanted.exclude_ids(),
        offset=None if token else 0,
        page_token=token,
    )
    seen.answer = Answer(key, result, time.perf_counter() - started)
    del seen.page_tokens[seen.page + 1 :]
    if result.next_page_token:
        seen.page_tokens.append(result.next_page_token)
    return seen.answer


def _browse(seen: State, search: Search, roles: Roles, known: Facets) -> None:
    """Show the catalogue itself, while nothing is looked for."""
    if seen.browsing is None:
        listed = client().catalogue.list_items(
            collection=search.collection, filter=search.condition, page_size=search.page_size
        )
        seen.browsing = Browsing(listed)
    try:
        items = seen.browsing.page(seen.page, search.page_size)
    except ClientError:
        seen.browsing = None  # a listing that broke off would look like one that ended
        raise
    if not items and seen.page == 0:
        empty = messages.NOTHING_MATCHES if search.condition else messages.EMPTY_COLLECTION
        show(empty, icon=":material/search_off:")
        return
    _headline("All products" if not search.condition else "Products that fit", seen.page, len(items), "")
    grid([Product.of_item(item) for item in items], roles, search.collection)
    _pager(seen, seen.browsing.goes_on_after(seen.page, search.page_size))


def _headline(said: str, page: int, count: int, order: str) -> None:
    st.html(markup.headline(said, page + 1, count, order))


def _pager(seen: State, goes_on: bool) -> None:
    if seen.page == 0 and not goes_on:
        return
    with st.container(key="pager", horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        st.button(
            "Previous",
            key="previous",
            icon=":material/chevron_left:",
            disabled=seen.page == 0,
            on_click=seen.turn,
            args=(-1,),
        )
        st.html(f'<p class="page-number">Page {seen.page + 1}</p>', width="content")
        st.button(
            "Next",
            key="next",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=not goes_on,
            on_click=seen.turn,
            args=(1,),
        )
