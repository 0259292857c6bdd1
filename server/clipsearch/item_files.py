"""What the Parquet files that this package writes say about themselves, under keys of the file's metadata."""

WEIGHT_HASH = "clipsearch.weight_hash"
"""Which weights made the vectors; those of others do not compare with them."""

SEQUENCE_NUMBER = "clipsearch.sequence_number"
"""The last write that an exported collection contains."""

ITEMS_VERSION = "clipsearch.items_version"
"""Marks an exported collection, whose columns are an item's own parts; in any other file they are metadata."""

CURRENT_ITEMS_VERSION = "1"
