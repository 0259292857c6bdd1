"""What a key may be good for."""

from enum import Enum


class Scope(Enum):
    """One kind of method. None includes another: a key that only writes cannot read what is stored."""

    READ = "read"
    """Embed, search, and look at items, collections and the model."""
    WRITE = "write"
    """Store and delete items."""
    ADMIN = "admin"
    """Make and delete collections, rebuild, snapshot, import and export, replace the model, and watch and stop these
    operations."""
