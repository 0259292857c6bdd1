"""Documentation as a tested artefact: what is made from code or results is what they say."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from clipsearch.cli.shell import VERBS

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="generate")
def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_shows_the_committed_figures(generate: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generate.quality_table() in readme, "run `make docs`"
    assert generate.speed_table() in readme, "run `make docs`"


def test_the_benchmarks_show_the_committed_figures(generate: ModuleType) -> None:
    shown = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert generate.index_table() in shown, "run `make docs`"
    assert generate.live_table() in shown, "run `make docs`"


def test_the_index_page_shows_what_follows_from_the_committed_figures(generate: ModuleType) -> None:
    assert generate.growth_table() in (ROOT / "docs/index.md").read_text(encoding="utf-8"), "run `make docs`"


def test_the_facets_page_shows_the_committed_figures(generate: ModuleType) -> None:
    assert generate.facets_table() in (ROOT / "docs/facets.md").read_text(encoding="utf-8"), "run `make docs`"


def test_the_catalogue_shows_the_committed_faults(generate: ModuleType) -> None:
    assert generate.faults_table() in (ROOT / "docs/catalogue.md").read_text(encoding="utf-8"), "run `make docs`"


def test_readme_names_only_verbs_that_exist() -> None:
    named = set(re.findall(r"^clipsearch (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert named == set(VERBS) - {"demo", "ui"}, "all but what `make demo` starts"


def test_links_in_the_documentation_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
