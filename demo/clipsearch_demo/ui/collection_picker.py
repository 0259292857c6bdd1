"""The choice of a collection, and the making of new ones."""

import streamlit as st

from clipsearch_demo.ui.connection import client

DEFAULT = "default"


def pick_collection() -> str:
    """Let a collection be picked and return its name; the default one where the picked one is gone."""
    names = client().catalogue.collections()
    first = names.index(DEFAULT) if DEFAULT in names else 0
    if st.session_state.get("collection") not in names:
        st.session_state.pop("collection", None)
    picked = st.selectbox("Collection", names, index=first, key="collection", persist_state="session")
    return picked or DEFAULT
