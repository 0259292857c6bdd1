"""What goes wrong, in the words of a shop: one message for each failure, with what to do about it."""

from dataclasses import dataclass

from clipsearch.client import (
    ClientError,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from clipsearch_demo.ui.pictures import NotAPicture

_PICTURE_REASONS = {"IMAGE_EMPTY", "IMAGE_UNSUPPORTED_FORMAT", "IMAGE_CORRUPT"}
_TOO_LARGE = ("The picture is too large", "Try a smaller one: {said}.")
_BY_REASON = {
    "IMAGE_TOO_LARGE": _TOO_LARGE,
    "IMAGE_TOO_MANY_PIXELS": _TOO_LARGE,
    "MESSAGE_TOO_LARGE": _TOO_LARGE,
    "VECTOR_NOT_USABLE": ("These cancel each other out", "What to look for and what to avoid are the same."),
    "FILTER_TOO_COMPLEX": ("Too many filters", "The server takes fewer at once. Take some away."),
    "SEARCH_TOO_DEEP": ("That is far enough", "The server does not look deeper. Say more precisely what to look for."),
}
_BY_CLASS: tuple[tuple[type[ClientError], str, str], ...] = (
    (
        Unavailable,
        "The server is away",
        "Nothing answers at {server}. Is clipsearch serve running there? This page goes on by itself once it is.",
    ),
    (DeadlineExceeded, "That took too long", "The server at {server} did not answer in time. Try it again."),
    (Overloaded, "The server is busy", "It has as much to do as it can take. Try it again in a moment."),
    (
        Unauthenticated,
        "The server does not know this page",
        "{said}. Whoever runs the page gives it a key with --api-key.",
    ),
    (PermissionDenied, "This page may not do that", "{said}."),
    (NotFound, "It is gone", "Somebody deleted it meanwhile: {said}."),
)
"""What to say by reason, or else by class: a heading and a sentence."""


@dataclass(frozen=True, slots=True)
class Message:
    """A heading and a sentence; ``is_away``: it is about a server that does not answer, and may be over by itself."""

    heading: str
    sentence: str
    is_away: bool = False


class Complaint(Exception):
    """What a visitor gave cannot be used; ``message`` is what to say about it."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.heading)
        self.message = message


NOTHING_MATCHES = Message(
    "Nothing matches", "No product fits all the filters. Take one away, or search for something else."
)
NO_MORE = Message("Nothing more", "The products of this page are gone. Go back to the first page.")
EMPTY_COLLECTION = Message("Nothing here yet", "This collection has no products. Add the first one.")
ONLY_UNWANTED = Message("What should it be?", "Say what to look for as well: what it is not is not enough to find it.")


def of_failure(error: ClientError, server: str) -> Message:
    """Return what to say about a failed call to the server at the address ``server``."""
    if error.reason in _PICTURE_REASONS:
        return not_a_picture(error.message)
    if error.reason in _BY_REASON:
        heading, sentence = _BY_REASON[error.reason]
    else:
        kinds = ((heading, sentence) for kind, heading, sentence in _BY_CLASS if isinstance(error, kind))
        heading, sentence = next(kinds, ("The server refused", "{said}."))
    said = (error.message or error.code.name).rstrip(".")
    return Message(heading, sentence.format(said=said, server=server), is_away=isinstance(error, Unavailable))


def of_picture(error: NotAPicture) -> Message:
    """Return what to say about a file or an address that gave no picture."""
    return not_a_picture(str(error))


def not_a_picture(why: str) -> Message:
    """Return what to say about something that is no picture."""
    return Message("That is not a picture", f"It can be a JPEG, PNG, WebP, GIF, BMP or TIFF; but {why}.")
