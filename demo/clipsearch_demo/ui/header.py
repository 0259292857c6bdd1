"""The top of every view."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clipsearch_demo.ui import markup
from clipsearch_demo.ui.theme import icon_address


def header() -> DeltaGenerator:
    """Show the page's name and return the row that it is in, for what else belongs there."""
    row = st.container(key="top", horizontal=True, vertical_alignment="center")
    with row:
        st.html(markup.brand(icon_address()), width="content")
    return row
