"""Rewrites the parts of docs/ that are made from the code, between their markers."""

import re
from pathlib import Path

from clipsearch.settings import markdown_table

DOCS = Path(__file__).parent


def replace(file: Path, name: str, content: str) -> None:
    """Put ``content`` between ``<!-- name -->`` and ``<!-- /name -->``; raises ValueError where they are missing."""
    text = file.read_text(encoding="utf-8")
    made, count = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: m[1] + content + m[2], text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{file} must hold the markers of {name} once, but has them {count} times")
    file.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    replace(DOCS / "settings.md", "settings", markdown_table())
