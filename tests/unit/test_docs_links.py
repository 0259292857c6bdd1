"""Links between pages lead somewhere, and what stands in code font exists."""

import re
from pathlib import Path

import pytest

from tests.unit.docs_blocks import GUIDES, PAGES, ROOT, anchors, blocks, links, name_of, spans

SOURCES = ("server", "export", "demo", "benchmarks", "tests", "proto", "docs")
"""Where a name that a guide uses may come from."""

OF_OTHERS = {"SQLITE_TMPDIR"}
"""Names of the libraries that we stand on, which a guide may have to mention."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} does not exist"
        if anchor:
            assert anchor in anchors(target), f"{path} has no #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_anchors_are_unique(page: Path) -> None:
    assert sorted(anchors(page)) == sorted(set(anchors(page)))


def test_every_guide_is_reached_from_the_entrance() -> None:
    entrance = ROOT / "docs/README.md"
    reached = {(entrance.parent / path).resolve() for path, _ in links(entrance)}
    assert {page for page in GUIDES if page not in (entrance, ROOT / "README.md")} <= reached


def test_every_failure_names_a_test_that_exists() -> None:
    page = (ROOT / "docs/failures.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| failure .*\n\| --- .*\n((?:\| .*\n)+)", page, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 30
    for row in rows:
        named = re.search(r"`(test_\w+\.py)::(test_\w+)` \|$", row)
        assert named, row
        files = list((ROOT / "tests").rglob(named[1]))
        assert any(f"def {named[2]}(" in file.read_text(encoding="utf-8") for file in files), row


@pytest.fixture(name="words", scope="module")
def _words() -> set[str]:
    """Every identifier of the code, and the names of its files."""
    files = [file for top in SOURCES for file in (ROOT / top).rglob("*") if file.suffix in {".py", ".proto"}]
    files += [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "deploy/prometheus/alerts.yaml"]
    named = {file.stem for file in files}
    return named.union(*(re.findall(r"\w+", file.read_text(encoding="utf-8")) for file in files))


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_names_in_code_font_are_in_the_code(page: Path, words: set[str]) -> None:
    """Settings, RPCs, messages, reasons, metrics, classes, functions: whatever has a shape that plain words lack."""
    shaped = re.compile(
        r"(?<![\w/.-])(?:[A-Z]+(?:_[A-Z0-9]+)+|[a-z]+(?:_[a-z0-9]+)+|[A-Z][a-z]+(?:[A-Z][a-z]+)+)(?![\w-])"
    )
    named = {name for span in spans(page) for name in shaped.findall(span)}
    known = words | {f"CLIPSEARCH_{word.upper()}" for word in words}
    known |= OF_OTHERS
    # Such as what a unit file of systemd says: blocks have tests of their own.
    known |= set(
        re.findall(r"\w+", "".join(block.text for block in blocks("ini", "toml") if block.page == name_of(page)))
    )
    assert named <= known, f"gone from the code: {sorted(named - known)}"


def server_code() -> str:
    """All of the server's and the client's own modules."""
    files = [file for file in (ROOT / "server/clipsearch").rglob("*.py") if file.parent.name != "v1"]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def guides() -> str:
    """All guides in one text."""
    return "\n".join(page.read_text(encoding="utf-8") for page in GUIDES)


def test_metrics_in_the_guides_are_those_of_the_code() -> None:
    metric = re.compile(r"\bclipsearch_(?!export\b|demo\b)[a-z][a-z0-9_]*")
    exported, documented = (set(metric.findall(text)) for text in (server_code(), guides()))
    # A histogram has one name in the code and three more when it is asked for.
    meant = {name if name in exported else re.sub("_(bucket|sum|count)$", "", name) for name in documented}
    assert meant == exported


def test_reasons_in_the_code_are_in_the_guides() -> None:
    """Those of errors that a server answers, and words of builds, imports and clients that have no class."""
    reasons = set(re.findall(r'"([A-Z]{2,}(?:_[A-Z]+)+)"', server_code()))
    assert {"TEXT_EMPTY", "FILE_UNREADABLE", "NOT_UNICODE"} <= reasons
    of_others = {"DELTA_BYTE_ARRAY", "PYNVIMGCODEC_VERBOSITY", "SC_CLK_TCK"}  # Parquet's, nvImageCodec's, the system's
    assert reasons - of_others <= set(re.findall(r"\w+", guides()))
