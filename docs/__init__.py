"""The documentation, and what writes the parts of it that the code says first: ``python -m docs.generate``."""
