"""docs/client.md names everything public, and its code is code."""

import dataclasses
import re
from pathlib import Path

import pytest

import clipsearch.client
from clipsearch.client import Client, Hit, RetryPolicy

DOCS = (Path(__file__).parents[3] / "docs/client.md").read_text(encoding="utf-8")
ALIASES = {"Input", "Picture", "Priority", "Timings", "Transport", "Vector", "View"}
"""Names of types that a caller reads in signatures and rarely writes."""


@pytest.mark.parametrize("name", sorted(set(clipsearch.client.__all__) - ALIASES))
def test_public_name_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", DOCS)


def test_methods_and_fields_are_documented() -> None:
    methods = {name for name in vars(Client) if not name.startswith("_")}
    fields = {field.name for field in dataclasses.fields(Hit)}
    policy = {"max_attempts", "initial_backoff_s", "max_backoff_s"}
    assert policy <= {field.name for field in dataclasses.fields(RetryPolicy)}
    assert not {name for name in methods | fields | policy if not re.search(rf"\b{name}\b", DOCS)}


def test_code_compiles() -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "docs/client.md", "exec")
