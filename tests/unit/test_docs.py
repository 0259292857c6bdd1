"""Documentation as a tested artefact: what is made from code or results is what they say."""

from pathlib import Path

import pytest

from clipsearch.cli.shell import VERBS
from clipsearch.rpc import scopes
from clipsearch.telemetry import metrics
from docs import generate
from docs.generator.api import api_reference
from docs.generator.cli import cli_reference
from docs.generator.errors import error_classes, errors_table
from docs.generator.protos import Api, Service, read_api
from docs.generator.security import costs_table

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(name="api", scope="module")
def _api() -> Api:
    return read_api()


def test_readme_shows_the_committed_figures() -> None:
    assert generate.quality_table() in page("README.md"), "run `make docs`"
    assert generate.speed_table() in page("README.md"), "run `make docs`"


def test_the_benchmarks_show_the_committed_figures() -> None:
    assert generate.index_table() in page("docs/benchmarks.md"), "run `make docs`"
    assert generate.live_table() in page("docs/benchmarks.md"), "run `make docs`"


def test_the_index_page_shows_what_follows_from_the_committed_figures() -> None:
    assert generate.growth_table() in page("docs/index.md"), "run `make docs`"


def test_the_catalogue_shows_the_committed_faults() -> None:
    assert generate.faults_table() in page("docs/catalogue.md"), "run `make docs`"


def test_the_facets_page_shows_the_committed_figures() -> None:
    assert generate.facets_table() in page("docs/facets.md"), "run `make docs`"


def test_the_security_page_shows_the_scopes_and_the_committed_figures() -> None:
    assert scopes.markdown_table() in page("docs/security.md"), "run `make docs`"
    assert costs_table() in page("docs/security.md"), "run `make docs`"


def test_the_api_reference_is_what_the_protos_say(api: Api) -> None:
    assert api_reference(api) in page("docs/api.md"), "run `make docs`"


def test_everything_in_the_protos_has_a_section_of_its_own(api: Api) -> None:
    names = [service.name for service in api.services]
    names += [method.name for service in api.services for method in service.methods]
    headings = [line.lstrip("# ") for line in page("docs/api.md").splitlines() if line.startswith("##")]
    assert {"Search", "SearchRequest", "ItemView"} <= set(headings)
    assert sorted(headings) == sorted({*names, *api.types, "Shared messages", "What goes for every call"})


def test_the_protos_name_reasons_that_exist_and_leave_none_out(api: Api) -> None:
    named = {
        reason
        for one in (part for service in api.services for part in (service, *service.methods))
        for text in one.comment.errors.values()
        for reason in text.rstrip(".").split(", ")
        if isinstance(one, Service) or not text.startswith("those of")
    }
    reasons = {kind.reason for kind in error_classes()}
    assert named <= reasons
    unnamed = reasons - named
    of_all_calls = {reason for reason in unnamed if f"#{reason.lower()})" in page("docs/api.md")}
    without_a_call = {"BUNDLE_UNUSABLE", "INDEX_UNUSABLE", "DEVICE_UNAVAILABLE", "CONFIG_INVALID"}
    # Of google.longrunning.Operations, whose proto is not ours.
    assert unnamed - of_all_calls - without_a_call == {"OPERATION_NOT_FOUND"}


def test_the_command_line_reference_is_what_the_commands_say() -> None:
    assert cli_reference() in page("docs/cli.md"), "run `make docs`"
    assert all(f"\n## clipsearch {verb}\n" in page("docs/cli.md") for verb in VERBS)


def test_the_errors_are_those_of_the_tree() -> None:
    assert errors_table() in page("docs/errors.md"), "run `make docs`"


def test_the_metrics_are_those_that_are_exported() -> None:
    assert metrics.markdown_table() in page("docs/monitoring.md"), "run `make docs`"
