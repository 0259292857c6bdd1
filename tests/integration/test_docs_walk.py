"""The guides work: what they show is run, in order, against a real server with the sample model.

Their outputs are of the sample catalogue with its 6,000 items, and `python -m docs.walk` writes them. Here the first
200 of those stand in, so what is looked at is that every step succeeds, and prints something where the guide says so.
"""

import re
from pathlib import Path

import pytest

from clipsearch_demo.demo import picture_queries
from docs.generator.walk import ROOT, is_walked, place, walk

GUIDES = [page for page in sorted((ROOT / "docs").glob("*.md")) if is_walked(page.read_text(encoding="utf-8"))]


@pytest.fixture(name="demo", scope="session")
def _demo(catalogue: Path, index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small catalogue laid out as `make demo` does."""
    demo = tmp_path_factory.mktemp("demo")
    picture_queries(demo / "queries")
    (demo / "catalogue").symlink_to(catalogue)
    (demo / "data").symlink_to(index.parent)
    return demo


def test_the_guides_with_examples_are_walked() -> None:
    names = {page.stem for page in GUIDES}
    assert {"quickstart", "export", "search", "filters", "operating", "tuning"} <= names


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_step_of_a_guide_works(page: Path, demo: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    with place(tmp_path / "clone", demo) as here:
        walked = walk(text, here)
    before, after = outputs(text), outputs(walked)
    assert len(after) == len(before) > 0
    silent = [step for step, (was, now) in enumerate(zip(before, after, strict=True)) if bool(was) != bool(now)]
    assert not silent, "steps that print nothing here and something in the guide, or the other way round"


def outputs(text: str) -> list[str]:
    """What stands as printed in a guide: `text` blocks, and what follows each command of a `console` block."""
    found = re.findall(r"^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        found += re.split(r"^\$ .*\n", block, flags=re.MULTILINE)[1:]
    return [printed.strip() for printed in found]


def test_a_step_that_fails_is_an_error(demo: Path, tmp_path: Path) -> None:
    with place(tmp_path / "clone", demo) as here:
        with pytest.raises(RuntimeError, match="there is no collection"):
            walk('```console\n$ clipsearch search "a dress" --collection missing\n```', here)
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            walk("```python\n1 / 0\n```\n\n```text\n```", here)
        assert walk("```python\nprint(6 * 7)\n```\n\n```text\nold\n```", here).endswith("```text\n42\n```")
