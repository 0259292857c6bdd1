"""Which values the metadata of a collection hold, and how many items have each, under a filter or none.

``counts.FacetCounts`` is the door in; it keeps a ``tally.Tally`` for each filter and set of fields, which follows the
catalogue row by row; ``values`` are what is counted, and what is answered. docs/facets.md is the same for users.

The counts are those of filters: of a value, as many items as ``field:value`` lets through; of a field, as ``field:*``.
But that an object has a key is no value of it: what is inside has fields of its own.
"""
