"""Markdown taken apart: code blocks, code in the text, headings and links."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = [page for page in PAGES if page.parent.name != "decisions"]


class Block(NamedTuple):
    """A fenced block: where it is, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    """How a page is called in reports: its path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks of these languages, in all guides."""
    return [block for page in GUIDES for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(name_of(page), line, match[1], match[2])


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def spans(page: Path) -> list[str]:
    """What stands in code font in the text."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def anchors(page: Path) -> list[str]:
    """What a link into the page may name: its headings as GitHub spells them, and explicit anchors."""
    text = prose(page)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return slugs + re.findall(r'<a id="([^"]+)">', text)


def links(page: Path) -> list[tuple[str, str]]:
    """Links to other files and to anchors: path (empty for the page itself) and anchor (or empty)."""
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", prose(page))
    return [(path, anchor) for path, _, anchor in (target.partition("#") for target in targets)]
