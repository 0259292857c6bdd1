"""While a model is staged, what is written to the collections that serve is written to the staged model's as well.

The call is answered when both are done, so that whatever moment the staged model takes over at, its collections hold
what was acknowledged. Where the second write fails the first still counts: the item is then told as missing before
anything takes over. Items whose two writes are under way are known (``Serving.under_way``), and are not told.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from clipsearch.catalogue.mutations import Applied, Delete, Mutation, Upsert
from clipsearch.collection import Collection
from clipsearch.errors import ClipsearchError, CollectionNotFound, InvalidInput, ModelReplaced
from clipsearch.services.call import Call
from clipsearch.services.embed import EmbedService
from clipsearch.services.limits import RequestLimits
from clipsearch.services.new_items import NewItem, embed_items
from clipsearch.services.query import VectorInput
from clipsearch.services.serving import Serving, Where

logger = logging.getLogger(__name__)

Write = Callable[[Collection, Mutation, int, Call], Awaitable[Applied]]
"""Writes a mutation of so many items to a collection, by the write lane."""


class Mirror:
    """The second writes. Called on the event loop."""

    def __init__(self, serving: Serving, embed: EmbedService, write: Write, limits: RequestLimits) -> None:
        self._serving, self._embed, self._write, self._limits = serving, embed, write, limits

    @contextmanager
    def begin(self, where: Where, ids: Sequence[str]) -> Iterator[Where | None]:
        """Do both writes inside this; gives where to do the second one, None where there is to be none."""
        to = self._counterpart(where)
        keys = [] if to is None else [(where.collection.name, item_id) for item_id in ids]
        under_way = self._serving.under_way
        under_way.update(keys)
        try:
            yield to
        finally:
            under_way.subtract(keys)
            for key in keys:
                if under_way[key] <= 0:
                    del under_way[key]

    def _counterpart(self, where: Where) -> Where | None:
        staged = self._serving.staged
        if staged is None or staged.data is None or where.model is staged:
            return None
        try:
            return Where(staged, staged.data.collection(where.collection.name))
        except CollectionNotFound:  # made or deleted this very moment
            return None

    async def upsert(self, to: Where, items: Sequence[NewItem | ClipsearchError], call: Call) -> None:
        """Embed items that were written with the staged model, and write them there.

        Raises ModelReplaced where that fails and the staged model serves by now, or is about to.
        """
        try:
            made = await embed_items(self._embed, [_translatable(item) for item in items], to.model, self._limits, call)
            failed = [one for one in made.items if isinstance(one, ClipsearchError)]
            sound = [one for one in made.items if not isinstance(one, ClipsearchError)]
            if sound:
                applied = await self._write(to.collection, Upsert(sound), len(sound), call)
                failed += [one for one in applied.outcomes if isinstance(one, ClipsearchError)]
        except ClipsearchError as error:
            failed = [error]
        if failed:
            self._left_out(to, failed[0])

    async def delete(self, to: Where, ids: Sequence[str], call: Call) -> None:
        """Delete items there as well; raises as ``upsert`` does."""
        try:
            await self._write(to.collection, Delete(ids), len(ids), call)
        except ClipsearchError as error:
            self._left_out(to, error)

    def _left_out(self, to: Where, error: ClipsearchError) -> None:
        if self._serving.promoting or self._serving.model is to.model:
            raise ModelReplaced("another model took over meanwhile", metadata={"collection": to.collection.name})
        logger.warning(
            "collection %s: a write could not be repeated for the staged model: %s", to.collection.name, error.message
        )


def _translatable(item: NewItem | ClipsearchError) -> NewItem | ClipsearchError:
    """Refuse a ready vector: it is of the model that serves, and another's space is not to be had from it."""
    if isinstance(item, NewItem) and isinstance(item.content, VectorInput):
        return InvalidInput("a ready vector is of one model only", metadata={"item_id": item.id})
    return item
