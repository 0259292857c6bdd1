"""The view on the catalogue as a whole: its size and index, what the server is at, and what can be started."""

import time
from dataclasses import dataclass

import streamlit as st

from clipsearch.client import ClientError, CollectionStats
from clipsearch_demo.ui.collection_picker import new_collection, pick_collection
from clipsearch_demo.ui.connection import client
from clipsearch_demo.ui.notices import show_failure
from clipsearch_demo.ui.progress import LIVE_S, jobs


@dataclass(frozen=True, slots=True)
class Glance:
    """How many items there were at a time in seconds, to tell how fast they come."""

    collection: str
    at: float
    items: int


def managing() -> None:
    """Show the view; raises ClientError where the server cannot answer."""
    with st.sidebar:
        collection = pick_collection()
        new_collection()
    st.subheader(f"The collection {collection}")
    _live(collection)
    left, right = st.columns(2)
    with left:
        _rebuilding(collection)
    with right:
        _importing(collection)


@st.fragment(run_every=LIVE_S)
def _live(collection: str) -> None:
    try:
        stats = client().catalogue.stats(collection)
    except ClientError as error:
        show_failure(error)
        return
    _sizes(collection, stats)
    _index(stats)
    st.subheader("Under way and done")
    jobs()


def _sizes(collection: str, stats: CollectionStats) -> None:
    rate = _rate(Glance(collection, time.monotonic(), stats.items))
    with st.container(key="sizes", horizontal=True):
        st.metric("Products", f"{stats.items:,}", f"{rate:+,.0f} a second" if abs(rate) >= 0.5 else None, border=True)
        st.metric("Newer than the index", f"{stats.delta_items:,}", border=True)
        st.metric("Replaced or deleted", f"{stats.tombstones:,}", border=True)
        st.metric("On disk", f"{stats.disk_bytes / 2**20:,.1f} MiB", border=True)
    if stats.damaged_rows:
        st.warning(f"{stats.damaged_rows:,} embeddings are damaged.", icon=":material/warning:")


def _rate(now: Glance) -> float:
    """Return the items a second that came since the last look, below zero where some went."""
    before = st.session_state.get("glance")
    st.session_state["glance"] = now
    if not isinstance(before, Glance) or before.collection != now.collection or now.at <= before.at:
        return 0.0
    return (now.items - before.items) / (now.at - before.at)


def _index(stats: CollectionStats) -> None:
    index = stats.index
    if index is None:
        st.caption("There is no index yet: every search looks at every product.")
        return
    kind = (
        "exact" if index.kind == "flat" else f"IVF-PQ with {index.nlist:,} lists, of which {index.nprobe} are visited"
    )
    recall = "" if index.image_recall is None else f", recall@10 {index.image_recall:.3f}"
    built = f"{index.build_time.astimezone():%d %B %Y, %H:%M:%S}"
    st.caption(f"The index: {kind}{recall}; {index.size:,} products as of {built}.")


def _rebuilding(collection: str) -> None:
    with st.form("rebuild-form"):
        st.markdown("**Rebuild the index**")
        st.caption("It is built beside serving and takes over when it is ready.")
        train = st.checkbox("Train it anew", key="rebuild-train")
        if st.form_submit_button("Rebuild", key="rebuild"):
            try:
                client().catalogue.rebuild_index(collection, train=train)
            except ClientError as error:
                show_failure(error)


def _importing(collection: str) -> None:
    with st.form("import-form"):
        st.markdown("**Import what lies beside the server**")
        path = st.text_input("Path below the server's imports directory", key="import-path", placeholder="photos")
        metadata = st.text_input("Metadata file, if there is one", key="import-metadata", placeholder="photos.csv")
        if st.form_submit_button("Import", key="import") and path.strip():
            try:
                client().catalogue.import_items(path.strip(), metadata_path=metadata.strip(), collection=collection)
            except ClientError as error:
                show_failure(error)
