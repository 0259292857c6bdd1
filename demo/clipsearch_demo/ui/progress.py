"""What the server is at: index rebuilds, imports and other operations, live."""

import streamlit as st

from clipsearch.client import Cancelled, ClientError, OperationState
from clipsearch_demo.ui.connection import client
from clipsearch_demo.ui.notices import plain, show_failure

LIVE_S = 1.0
BRIEF_S = 3.0
SHOWN = 8

WORDS = {
    "rebuild": ("Rebuilding the index of {}", "The rebuild of {}"),
    "import": ("Importing into {}", "The import into {}"),
    "export": ("Exporting {}", "The export of {}"),
    "snapshot": ("Taking a snapshot", "The snapshot"),
    "model": ("Changing the model", "The change of the model"),
}
"""What to call an operation while it runs, and when it is over."""


@st.fragment(run_every=BRIEF_S)
def jobs_in_brief() -> None:
    """Show what is being done now, in the sidebar; nothing while there is nothing."""
    try:
        running = [one for one in client().catalogue.operations() if not one.progress.done]
    except ClientError:
        return  # the page itself says that the server is away, and once is enough
    for one in running:
        st.progress(share(one), text=title(one))


def jobs() -> None:
    """Show what is being done and what was done last, with how far it is; part of a fragment that runs by itself."""
    try:
        listed = client().catalogue.operations()
    except ClientError as error:
        show_failure(error)
        return
    if not listed:
        st.caption("Nothing has been rebuilt, imported or exported since the server started.")
    for place, one in enumerate(listed[:SHOWN]):
        with st.container(key=f"job-{place}", border=True):
            _job(one, place)


def _job(one: OperationState, place: int) -> None:
    progress = one.progress
    if not progress.done:
        st.progress(share(one), text=f"{title(one)}: {stage(one)}")
        st.button("Cancel", key=f"cancel-{place}", on_click=_cancel, args=(one.name,))
        return
    icon = ":material/check_circle:" if one.error is None else ":material/error:"
    why = "" if one.error is None or isinstance(one.error, Cancelled) else f": {plain(one.error.message)}"
    st.markdown(f"{icon} **{title(one)}**{why}, begun at {progress.start_time.astimezone():%H:%M:%S}")


def _cancel(name: str) -> None:
    try:
        client().catalogue.cancel_operation(name)
    except ClientError as error:
        show_failure(error)


def title(one: OperationState) -> str:
    """Return what an operation does, or did."""
    running, over = (words.format(one.progress.collection) for words in WORDS[one.kind])
    if not one.progress.done:
        return running
    if one.error is None:
        return f"{over} is done"
    return f"{over} was cancelled" if isinstance(one.error, Cancelled) else f"{over} failed"


def stage(one: OperationState) -> str:
    """Return how far an operation is, in words."""
    progress = one.progress
    steps = f" {progress.done_steps:,} of {progress.total_steps:,}" if progress.total_steps else ""
    return f"{progress.stage}{steps}"


def share(one: OperationState) -> float:
    """Return the part of its present stage that is done, from 0 to 1."""
    total = one.progress.total_steps
    return min(1.0, one.progress.done_steps / total) if total else 0.0
