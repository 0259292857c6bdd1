"""The audit finds what it is there for, and says where it could not look."""

import re
from importlib import metadata
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests import audit

PINNED = "numpy==" + metadata.version("numpy")


def test_everything_that_development_installs_is_pinned() -> None:
    constraints = (audit.ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert list(audit.unpinned(audit.required(audit.ROOT / "pyproject.toml", "dev"), constraints)) == []


def test_extras_of_extras_and_the_base_are_required() -> None:
    names = {one.name for one in audit.required(audit.ROOT / "pyproject.toml", "dev")}
    assert {"grpcio", "faiss-cpu", "torch", "ruff"} <= names
    assert "clipsearch" not in names


@pytest.mark.parametrize(
    ("requirement", "constraints", "complaint"),
    [
        ("numpy", "", "numpy .* constraints.txt does not pin it"),
        ("NumPy", "# numpy==1\nnumpy==1.0", "constraints.txt says ==1.0"),
        ("no-such-package-here", PINNED, "required and not installed"),
        ("trustme", f"trustme=={metadata.version('trustme')}", "cryptography .* does not pin it"),
    ],
)
def test_what_is_not_pinned_is_complained_of(requirement: str, constraints: str, complaint: str) -> None:
    complaints = "\n".join(audit.unpinned([Requirement(requirement)], constraints))
    assert re.search(complaint, complaints)


def test_what_does_not_apply_is_not_asked_for() -> None:
    other = Requirement("no-such-package-here; python_version < '3'")
    assert list(audit.unpinned([other, Requirement("numpy")], PINNED)) == []


def answers(canary: list[dict[str, Any]], pinned: list[dict[str, Any]]) -> audit.Ask:
    return lambda asked: canary if asked == audit.CANARY else pinned


CANARY_FOUND = [{"name": "pillow", "version": "8.0.0", "vulns": [{"id": "PYSEC-2021-35", "fix_versions": ["8.1.1"]}]}]


def test_vulnerabilities_are_complained_of_but_for_accepted_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ACCEPTED", {"A-2": "we never call it"})
    found = [{"id": "A-1", "fix_versions": ["2.0", "1.9.1"]}, {"id": "A-2", "fix_versions": []}]
    report: list[dict[str, Any]] = [
        {"name": "one", "version": "1.0", "vulns": found},
        {"name": "two", "version": "1.0", "vulns": []},
        {"name": "three", "skip_reason": "not on PyPI"},
    ]
    assert audit.vulnerable("...", answers(CANARY_FOUND, report)) == [
        "one 1.0 has A-1, fixed in 2.0, 1.9.1",
        "three could not be audited: not on PyPI",
    ]


@pytest.mark.parametrize(
    "canary",
    [
        [{"name": "pillow", "version": "8.0.0", "vulns": []}],
        [{"name": "pillow", "skip_reason": "Dependency not found on PyPI"}],
    ],
)
def test_an_index_without_advisories_is_no_all_clear(canary: list[dict[str, Any]]) -> None:
    with pytest.raises(audit.Unanswered, match="no advisories"):
        audit.vulnerable("numpy==1.0", answers(canary, []))


def test_a_pip_audit_that_fails_is_no_all_clear_either() -> None:
    with pytest.raises(audit.Unanswered, match="status"):
        audit.ask_pip_audit("this is no requirement at all ==")
