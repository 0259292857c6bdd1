"""Pictures behind addresses that visitors type: fetched by the page, which nobody may lead into its own network."""

from clipsearch.fetch import FetchError, FetchLimits, fetch_one
from clipsearch_demo.ui.messages import Complaint, Message

MAX_PICTURE_BYTES = 16 * 2**20
TIMEOUT_S = 15.0


def picture_behind(url: str, *, allow_private: bool) -> bytes:
    """Return what lies behind an address; raises Complaint."""
    limits = FetchLimits(max_bytes=MAX_PICTURE_BYTES, total_timeout_s=TIMEOUT_S, allow_private=allow_private)
    try:
        return fetch_one(url.strip(), limits)
    except FetchError as error:
        raise Complaint(Message("That link gives no picture", f"{error}.")) from error
