"""The tallies of a collection: one for each filter and set of fields that was asked for lately."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from itertools import count

from clipsearch.catalogue.connection import SharedConnection
from clipsearch.catalogue.facets.tally import Check, Tally
from clipsearch.catalogue.facets.values import Facets, Path
from clipsearch.catalogue.filters.compile import CompiledFilter
from clipsearch.errors import TooManyFields

TALLIES_KEPT = 32
"""Pages ask for the same fields again and again, with as many filters as their readers think of."""


class FacetCounts:
    """Counts what the metadata of a collection's live items hold. Thread-safe: callers take turns.

    What was counted for a filter and set of fields is kept and brought up to date, for the last TALLIES_KEPT of them.
    """

    def __init__(self, connection: SharedConnection, scan: str) -> None:
        """Count by ``connection``, which nobody else uses; ``scan`` says which index has the metadata by row."""
        self._connection = connection
        self._scan = scan
        self._turn = threading.Lock()
        self._tallies: OrderedDict[tuple[str, frozenset[Path]], Tally] = OrderedDict()
        self._tables = count()

    def facets(self, condition: CompiledFilter | None, paths: Sequence[Path], limit: int, check: Check) -> Facets:
        """Return the counts of what a filter lets through (None: everything), as of now.

        Of the fields ``paths``, or of all that there are where none is given, each with up to ``limit`` values. Raises
        TooManyFields where more than MAX_FIELDS are found, CollectionNotFound once it is closed, StorageFull or
        StorageFailed where the temporary file fails, and what ``check`` raises between blocks of rows.
        """
        key = ("" if condition is None else condition.text, frozenset(paths))
        with self._turn:
            check()
            tally = self._tallies.get(key)
            if tally is None:
                tally = Tally(self._connection, self._scan, f"tally_{next(self._tables)}", condition, key[1])
                self._tallies[key] = tally
            self._tallies.move_to_end(key)
            try:
                return tally.facets(limit, check)
            except TooManyFields:
                # Some of the fields known may be those of items that are gone: the next count starts anew.
                self._tallies.pop(key).drop()
                raise
            finally:
                while len(self._tallies) > TALLIES_KEPT:
                    self._tallies.popitem(last=False)[1].drop()

    def close(self) -> None:
        """Close the file once the block that is being counted is done; calls that follow raise CollectionNotFound."""
        self._connection.close()
