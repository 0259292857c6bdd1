"""The query: words, a picture from a file, a link, the camera or the catalogue, their weights, and what it is not."""

import streamlit as st

from clipsearch_demo.ui import markup
from clipsearch_demo.ui.connection import options
from clipsearch_demo.ui.downloads import MAX_PICTURE_BYTES, picture_behind
from clipsearch_demo.ui.messages import Complaint, Message, of_picture
from clipsearch_demo.ui.notices import show
from clipsearch_demo.ui.pictures import SUFFIXES, NotAPicture, data_address
from clipsearch_demo.ui.query import DEFAULT_AVERSION, DEFAULT_PICTURE_SHARE, Example, Wanted
from clipsearch_demo.ui.state import State, state

THUMBNAIL_PX = 160
SOURCES = ("File", "Link", "Camera")


def searchbar() -> Wanted:
    """Show the query, let it be changed, and return it."""
    seen = state()
    with st.container(key="searchbar"):
        with st.container(key="words", horizontal=True, vertical_alignment="bottom"):
            text = st.text_input(
                "What are you looking for?", key="q", placeholder="a red dress", bind="query-params", max_chars=1000
            )
            st.button("Search", key="search", type="primary", icon=":material/search:")
        with st.container(key="refine", horizontal=True, vertical_alignment="bottom"):
            with st.popover("Search by picture", icon=":material/photo_camera:", key="picture_menu", on_change="rerun"):
                _picture_sources(seen)
            without = _without(st.text_input("But not", key="not", placeholder="stripes, pink", bind="query-params"))
        problem = st.session_state.pop("picture_problem", None)
        if isinstance(problem, Message):
            show(problem, icon=":material/hide_image:")
        if seen.example is not None:
            _example(seen.example)
        share, aversion = _weights(composed=bool(text.strip()) and seen.example is not None, averse=bool(without))
    return Wanted(text.strip(), seen.example, share, without, aversion)


def look_like(example: Example) -> None:
    """Search for what is like an item and nothing else; a callback, as it empties widgets."""
    state().set_example(example)
    st.session_state["q"] = ""
    st.session_state["not"] = ""


def _without(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _weights(*, composed: bool, averse: bool) -> tuple[float, float]:
    """Let the parts of a query be weighed, where there are several; see ``Wanted`` for the two numbers."""
    share, aversion = DEFAULT_PICTURE_SHARE, DEFAULT_AVERSION
    if not (composed or averse):
        return share, aversion
    with st.container(key="weights", horizontal=True):
        if composed:
            percent = st.slider(
                "Words or picture?",
                0,
                100,
                round(100 * DEFAULT_PICTURE_SHARE),
                step=5,
                format="%d %% picture",
                key="picture_share",
                persist_state="session",
            )
            share = percent / 100
        if averse:
            percent = st.slider(
                "How much does “but not” count?",
                10,
                100,
                round(100 * DEFAULT_AVERSION),
                step=5,
                format="%d %%",
                key="aversion",
                persist_state="session",
            )
            aversion = percent / 100
    return share, aversion


def _example(example: Example) -> None:
    """Show the picture that is searched by, with a way to be rid of it."""
    with st.container(key="example", horizontal=True, vertical_alignment="center"):
        st.html(markup.example(example), width="content")
        st.button("Remove the picture", key="remove-example", icon=":material/close:", on_click=_forget_example)


def _forget_example() -> None:
    state().set_example(None)


def _picture_sources(seen: State) -> None:
    source = st.segmented_control("Where is it?", SOURCES, default=SOURCES[0], required=True, key="picture_source")
    if source == "Camera":
        key = f"camera-{seen.example_round}"
        st.camera_input("Take a picture", key=key, on_change=_take_file, args=(key, "your photo"))
    elif source == "Link":
        key = f"link-{seen.example_round}"
        st.text_input("Address of the picture", key=key, placeholder="https://…", on_change=_take_link, args=(key,))
        st.button("Use this picture", key="use-link")
    else:
        key = f"upload-{seen.example_round}"
        # What the browser lets through by its name may still be anything: it is looked at when it is here.
        st.file_uploader(
            "A picture from this device",
            type=sorted(SUFFIXES),
            key=key,
            max_upload_size=MAX_PICTURE_BYTES // 2**20,
            on_change=_take_file,
            args=(key, ""),
        )


def _take_file(key: str, name: str) -> None:
    file = st.session_state[key]
    if file is not None:
        _take(file.getvalue(), name or file.name)


def _take_link(key: str) -> None:
    url = st.session_state[key].strip()
    if not url:
        return
    try:
        content = picture_behind(url, allow_private=options().allow_private_urls)
    except Complaint as complaint:
        _refuse(complaint.message)
        return
    _take(content, "the picture behind your link")


def _take(content: bytes, name: str) -> None:
    """Search by a picture that a visitor brought, or say why not; a callback, as it closes the menu."""
    try:
        example = Example(name=name, thumbnail=data_address(content, THUMBNAIL_PX), content=content)
    except NotAPicture as error:
        _refuse(of_picture(error))
        return
    state().set_example(example)
    st.session_state["picture_menu"] = False


def _refuse(problem: Message) -> None:
    """Say what is wrong with what was given, and go on with what was searched by before."""
    st.session_state["picture_problem"] = problem
    state().set_example(state().example)
    st.session_state["picture_menu"] = False
