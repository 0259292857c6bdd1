"""``python -m clipsearch_export``: the same as ``clipsearch export``."""

from clipsearch_export.command import export

if __name__ == "__main__":
    export(prog_name="clipsearch export")
