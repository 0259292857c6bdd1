"""What all visitors share: the one connection to the server, the directories of pictures, and facts worth keeping."""

import streamlit as st

from clipsearch.client import Client, Facets
from clipsearch.client_options import access_of
from clipsearch_demo.ui.options import Options
from clipsearch_demo.ui.pictures import Pictures

TIMEOUT_S = 10.0
"""A visitor does not wait longer for a page."""

FACETS_TTL_S = 5.0
"""How old the numbers beside the filters may be; they only grow stale by other people's writes."""

FACETS_TIMEOUT_S = 60.0
"""The first count in a large collection reads all of its metadata."""

MOST_VALUES = 60
"""A field with more different values than this is no filter that anybody would tick."""


def options() -> Options:
    """Return what ``clipsearch ui`` was told."""
    return Options.from_secrets(st.secrets)


@st.cache_resource(show_spinner=False)
def _connected() -> Client:
    return Client(options().server, timeout=TIMEOUT_S, **access_of(options().access))


def client() -> Client:
    """Return the connection; one for all visitors, whose calls then share batches."""
    return _connected()


def pictures() -> Pictures:
    """Return where items' pictures lie."""
    return Pictures(options().pictures, options().uploads)


def facets(collection: str, written: int) -> Facets:
    """Return which values the fields of a collection have, as of ``FACETS_TTL_S`` ago at most.

    ``written`` counts this visitor's own writes: what was just added is never missing from their filters.
    """
    return _facets(collection, written)


@st.cache_data(ttl=FACETS_TTL_S, max_entries=100, show_spinner=False)
def _facets(collection: str, written: int) -> Facets:
    return _connected().catalogue.facets(collection, limit=MOST_VALUES, timeout=FACETS_TIMEOUT_S)
