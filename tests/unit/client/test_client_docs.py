"""docs/client.md names everything public, and its code runs."""

import dataclasses
import re
from pathlib import Path

import pytest

import clipsearch.client
from clipsearch.client import Catalogue, Client, Hit, NewItem, Operation, RetryPolicy, SearchResult
from tests.unit.client.fake_catalogue import rebuilding, rebuilt
from tests.unit.client.fake_server import Fake

DOCS = (Path(__file__).parents[3] / "docs/client.md").read_text(encoding="utf-8")
ALIASES = {"Input", "Outcome", "Picture", "Priority", "Timings", "Transport", "Vector", "View"}
"""Names of types that a caller reads in signatures and rarely writes."""


@pytest.mark.parametrize("name", sorted(set(clipsearch.client.__all__) - ALIASES))
def test_public_name_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", DOCS)


def test_methods_and_fields_are_documented() -> None:
    methods = {name for kind in (Client, Catalogue, Operation) for name in vars(kind) if not name.startswith("_")}
    values = (Hit, NewItem, SearchResult)
    fields = {field.name for kind in values for field in dataclasses.fields(kind) if field.name != "_"}
    policy = {"max_attempts", "initial_backoff_s", "max_backoff_s"}
    assert policy <= {field.name for field in dataclasses.fields(RetryPolicy)}
    assert not {name for name in methods | fields | policy if not re.search(rf"\b{name}\b", DOCS)}


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL))
def test_code_runs(block: str, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r'Path\("(.*?)"\)', block):
        path = tmp_path / name
        (path if path.suffix else path / "any.jpg").parent.mkdir(exist_ok=True)
        (path if path.suffix else path / "any.jpg").write_bytes(b"picture")
    monkeypatch.chdir(tmp_path)
    fake.catalogue.operation = [rebuilding("training", 4), rebuilt()]
    exec(compile(block.replace("localhost:50051", fake.target), "docs/client.md", "exec"), {"__name__": "example"})
    assert fake.requests


def test_there_are_examples() -> None:
    assert DOCS.count("```python") == 6
