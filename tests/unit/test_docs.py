"""Documentation as a tested artefact: what is made from code or results is what they say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clipsearch.cli.shell import VERBS
from docs import generate
from docs.generator.errors import error_classes
from docs.generator.protos import Api, Service, read_api

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(name="api", scope="module")
def _api() -> Api:
    return read_api()


@pytest.mark.parametrize(("file", "name", "make"), generate.TABLES, ids=lambda one: one if isinstance(one, str) else "")
def test_what_is_made_from_code_or_results_is_what_the_page_says(file: str, name: str, make: Callable[[], str]) -> None:
    assert f"<!-- {name} -->\n{make()}<!-- /{name} -->" in page(file), "run `make docs`"


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


def test_every_command_has_a_section() -> None:
    assert all(f"\n## clipsearch {verb}\n" in page("docs/cli.md") for verb in VERBS)
