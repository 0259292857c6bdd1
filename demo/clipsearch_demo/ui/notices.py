"""Shows messages; the one about a server that is away disappears by itself once it is back."""

import streamlit as st

from clipsearch.client import ClientError, DeadlineExceeded
from clipsearch_demo.ui.connection import client, options
from clipsearch_demo.ui.messages import Message, of_failure
from clipsearch_demo.ui.state import state

LOOK_AGAIN_S = 2.0
ANSWERS_WITHIN_S = 1.0


def show(message: Message, icon: str = ":material/info:") -> None:
    """Show a message."""
    st.info(f"**{message.heading}.** {plain(message.sentence)}", icon=icon)


def show_notice() -> None:
    """Show once what the last click did."""
    if state().notice:
        st.toast(plain(state().notice), icon=":material/check:")
        state().notice = ""


def show_failure(error: ClientError) -> None:
    """Show that a call failed, and why."""
    message = of_failure(error, options().server)
    icon = ":material/cloud_off:" if message.is_away else ":material/error:"
    st.error(f"**{message.heading}.** {plain(message.sentence)}", icon=icon)


def show_page_failure(error: ClientError) -> None:
    """Show a failure in place of the whole page, which comes by itself once a server that is away is back."""
    show_failure(error)
    st.button("Try again", key="try-again", icon=":material/refresh:")
    if of_failure(error, options().server).is_away:
        _until_it_is_back()


@st.fragment(run_every=LOOK_AGAIN_S)
def _until_it_is_back() -> None:
    try:
        back = client().ready(timeout=ANSWERS_WITHIN_S)
    except DeadlineExceeded:
        return
    if back:
        st.rerun()


def plain(text: str) -> str:
    """Return a text as Markdown that shows it as it is: servers quote what strangers wrote."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()<>#+-!|$~:" else letter for letter in text)
