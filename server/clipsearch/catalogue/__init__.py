"""The SQLite catalogue: items and their embeddings; knows durability, nothing else.

``reader.CatalogueReader`` looks items up while serving, ``writer.CatalogueWriter`` is the one that writes.
"""
