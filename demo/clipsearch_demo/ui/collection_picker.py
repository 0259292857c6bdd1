"""The choice of a collection, and the making of new ones."""

import streamlit as st

from clipsearch.client import ClientError
from clipsearch_demo.ui.connection import client
from clipsearch_demo.ui.notices import show_failure
from clipsearch_demo.ui.state import state

DEFAULT = "default"


def pick_collection() -> str:
    """Let a collection be picked and return its name; the default one where the picked one is gone."""
    names = client().catalogue.collections()
    first = names.index(DEFAULT) if DEFAULT in names else 0
    if st.session_state.get("collection") not in names:
        st.session_state.pop("collection", None)
    picked = st.selectbox(
        "Collection", names, index=first, key="collection", persist_state="session", on_change=state().leave_collection
    )
    return picked or DEFAULT


def new_collection() -> None:
    """Let a collection be made, which is then the picked one."""
    with st.expander("New collection", icon=":material/create_new_folder:"), st.form("collection-form", border=False):
        st.text_input("Name", key="collection-name", placeholder="summer-2027", max_chars=64)
        st.form_submit_button("Make it", key="make-collection", on_click=_make)
        problem = st.session_state.pop("collection-problem", None)
        if isinstance(problem, ClientError):
            show_failure(problem)


def _make() -> None:
    """Make the collection; a callback, as it changes what is picked."""
    name = st.session_state["collection-name"].strip()
    try:
        client().catalogue.create_collection(name)
    except ClientError as error:
        st.session_state["collection-problem"] = error
        return
    st.session_state["collection"] = name
    state().leave_collection()
    state().notice = f"The collection {name} is there."
