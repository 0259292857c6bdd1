"""The SQLite catalogue: items and their embeddings; knows durability, nothing else.

``reader.CatalogueReader`` looks items up while serving, ``writer.CatalogueWriter`` is the one that writes, taking the
``mutations`` that callers ask for. ``backup`` copies the file while it is written, ``verify`` checks it.
"""
