"""The script that Streamlit runs for every visitor and every click: the frame of the page, and one of its views."""

import streamlit as st

from clipsearch.client import ClientError
from clipsearch_demo.ui.header import header
from clipsearch_demo.ui.managing import managing
from clipsearch_demo.ui.notices import show_notice, show_page_failure
from clipsearch_demo.ui.searching import searching
from clipsearch_demo.ui.theme import ICON, stylesheet


def main() -> None:
    """Show the page. What the server refuses or cannot answer becomes one message in place of the view."""
    st.set_page_config(page_title="clipsearch", page_icon=str(ICON), layout="wide")
    st.html(stylesheet())
    # The views are called once the header is there.
    view = st.navigation(
        [
            st.Page(lambda: searching(top), title="Search", icon=":material/search:", url_path="search", default=True),
            st.Page(managing, title="Catalogue", icon=":material/inventory_2:", url_path="catalogue"),
        ],
        position="top",
    )
    top = header()
    show_notice()
    try:
        view.run()
    except ClientError as error:
        show_page_failure(error)


main()
