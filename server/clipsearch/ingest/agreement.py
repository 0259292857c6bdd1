"""Whether the server still holds what the state says: asked before anything of it is believed.

A collection may have been deleted and made again, restored from a copy, or written by others. Its identity tells the
first; while its sequence number is the one at which all agreed, nobody has written anything, and nothing else needs to
be asked. Otherwise every item is listed, and of those whose own sequence number is not the one that was acknowledged
nothing is believed: they are sent again.
"""

from dataclasses import dataclass

from clipsearch.client import Client
from clipsearch.client.types import CollectionStats
from clipsearch.ingest.state import State

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Agreement:
    """The collection as it was found, and in words what of the state no longer holds; empty where all does."""

    stats: CollectionStats
    weight_hash: str
    difference: str = ""


def reconcile(client: Client, collection: str, state: State) -> Agreement:
    """Take back what the state claims and the server does not hold. Raises ClientError."""
    stats = client.catalogue.stats(collection)
    # A staged model's collection is not of the model that serves; one of ready vectors may be of any.
    weight_hash = stats.weight_hash or client.model().weight_hash
    identity, known_model, seq = state.about("identity"), state.about("model"), state.about("seq")
    difference = ""
    if (identity, known_model) != (stats.identity, weight_hash):
        if state.held():
            what = "collection" if identity != stats.identity else "model"
            difference = f"the {what} is not the one of the last run: everything is sent again"
        state.forget()
    elif (seq != stats.sequence_number or not identity) and state.stored_items():
        items = client.catalogue.list_items(collection=collection, page_size=PAGE)
        lost = state.believe_only((item.id, item.sequence_number) for item in items)
        if lost:
            difference = f"{lost:,} items were changed or deleted by others: they are sent again"
    state.agree(stats.identity, weight_hash, stats.sequence_number)
    return Agreement(stats, weight_hash, difference)
