"""All about one product, and its deletion."""

import streamlit as st

from clipsearch.client import ClientError
from clipsearch_demo.ui import markup
from clipsearch_demo.ui.connection import client, pictures
from clipsearch_demo.ui.notices import show_failure
from clipsearch_demo.ui.pictures import LARGE_PX
from clipsearch_demo.ui.roles import Roles, price_of, title_of
from clipsearch_demo.ui.state import state

_ASKED = "delete-asked"


def forget_deletion() -> None:
    """Forget that a deletion was asked for: the question was left unanswered when the details were closed."""
    st.session_state.pop(_ASKED, None)


@st.dialog("Product", width="medium")
def show_details(item_id: str, collection: str, roles: Roles) -> None:
    """Show an item as it is stored now, over the page."""
    try:
        item = client().catalogue.get_item(item_id, collection=collection)
    except ClientError as error:
        show_failure(error)
        return
    title, price = title_of(roles, item.id, item.metadata), price_of(roles, item.metadata)
    left, right = st.columns([5, 6], gap="medium")
    with left:
        st.html(markup.picture(pictures().address(item.uri, item.metadata, LARGE_PX), title))
    with right:
        st.html(markup.heading(title, price, str(item.metadata.get(roles.text) or "")))
        said = {roles.title, roles.price, roles.text}
        st.html(markup.details(item.id, item.uri, {k: v for k, v in item.metadata.items() if k not in said}))
    _deletion(item.id, title, collection)


def _deletion(item_id: str, title: str, collection: str) -> None:
    """Delete the item, once that was asked for twice."""
    if st.session_state.get(_ASKED) != item_id:
        if st.button("Delete this product", key="delete", icon=":material/delete:"):
            st.session_state[_ASKED] = item_id
            st.rerun(scope="fragment")
        return
    with st.container(key="delete-really", horizontal=True, vertical_alignment="center"):
        st.markdown("It will be gone for everybody.")
        if st.button("Delete for good", key="delete-for-good", type="primary"):
            try:
                deleted = client().catalogue.delete([item_id], collection=collection)
            except ClientError as error:
                show_failure(error)
                return
            del st.session_state[_ASKED]
            was = "was deleted" if item_id not in deleted.missing_ids else "had been deleted already"
            state().wrote(f"“{title}” {was}.")
            st.rerun()
        if st.button("Keep it", key="keep"):
            del st.session_state[_ASKED]
            st.rerun(scope="fragment")
