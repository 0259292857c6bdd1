"""What goes wrong, in the words of a shop: one message for each failure, with what to do about it."""

from dataclasses import dataclass

from clipsearch.client import ClientError, DeadlineExceeded, NotFound, Overloaded, Unavailable
from clipsearch_demo.ui.pictures import NotAPicture

_PICTURE_REASONS = {"IMAGE_EMPTY", "IMAGE_UNSUPPORTED_FORMAT", "IMAGE_CORRUPT"}
_SIZE_REASONS = {"IMAGE_TOO_LARGE", "IMAGE_TOO_MANY_PIXELS", "MESSAGE_TOO_LARGE"}


@dataclass(frozen=True, slots=True)
class Message:
    """A heading and a sentence; ``is_away``: it is about a server that does not answer, and may be over by itself."""

    heading: str
    sentence: str
    is_away: bool = False


NOTHING_MATCHES = Message(
    "Nothing matches", "No product fits all the filters. Take one away, or search for something else."
)
NO_MORE = Message("Nothing more", "The products of this page are gone. Go back to the first page.")
EMPTY_COLLECTION = Message("Nothing here yet", "This collection has no products. Add the first one.")
ONLY_UNWANTED = Message("What should it be?", "Say what to look for as well: what it is not is not enough to find it.")


def of_failure(error: ClientError, server: str) -> Message:
    """Return what to say about a failed call to the server at the address ``server``."""
    if isinstance(error, Unavailable):
        return Message(
            "The server is away",
            f"Nothing answers at {server}. Is clipsearch serve running there? This page goes on by itself once it is.",
            is_away=True,
        )
    if isinstance(error, DeadlineExceeded):
        return Message("That took too long", f"The server at {server} did not answer in time. Try it again.")
    if isinstance(error, Overloaded):
        return Message("The server is busy", "It has as much to do as it can take. Try it again in a moment.")
    if error.reason in _PICTURE_REASONS:
        return not_a_picture(error.message)
    if error.reason in _SIZE_REASONS:
        return Message("The picture is too large", f"Try a smaller one: {error.message}.")
    if error.reason == "VECTOR_NOT_USABLE":
        return Message("These cancel each other out", "What to look for and what to avoid are the same. Change one.")
    if error.reason == "FILTER_TOO_COMPLEX":
        return Message("Too many filters", "The server takes fewer at once. Take some away.")
    if isinstance(error, NotFound):
        return Message("It is gone", f"Somebody deleted it meanwhile: {error.message}.")
    return Message("The server refused", f"{error.message or error.code.name}.")


def of_picture(error: NotAPicture) -> Message:
    """Return what to say about a file or an address that gave no picture."""
    return not_a_picture(str(error))


def not_a_picture(why: str) -> Message:
    """Return what to say about something that is no picture."""
    return Message("That is not a picture", f"It can be a JPEG, PNG, WebP, GIF, BMP or TIFF; but {why}.")
