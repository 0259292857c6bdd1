"""PromQL expressions taken apart: which labels a result carries, and whether what is asked can have an answer.

Prometheus finds nothing wrong with a metric that does not exist, a label that no series carries or two sides that never
match: the result is empty, and an alert stays silent for ever. So those are what is looked for.
"""

import re
from collections.abc import Mapping
from typing import Any

import promql_parser as promql

from clipsearch.ports import Priority
from clipsearch.services.recall import QueryKind
from clipsearch.telemetry.metrics import ALL

TARGET = frozenset({"instance", "job"})
"""Labels that Prometheus itself adds to what it scrapes."""

OTHERS: Mapping[str, frozenset[str]] = dict.fromkeys(
    (
        "up",
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ),
    TARGET,
)
"""Metrics of Prometheus and of its client library; a test of a real server sees that the latter are there."""

VALUES: Mapping[str, frozenset[str]] = {
    "lane": frozenset({"text", "image", "search", "write"}),
    "stage": frozenset({"preprocess", "queue", "encode", "search", "write"}),
    "priority": frozenset(one.value for one in Priority),
    "queries": frozenset(one.value for one in QueryKind),
    "tower": frozenset({"text", "image"}),
    "kind": frozenset({"real", "padding"}),
    "state": frozenset({"used", "total"}),
    "result": frozenset({"hit", "miss"}),
    "part": frozenset({"event_loop", "text_lane", "image_lane", "search_lane", "write_lane", "decoders", "fronts"}),
}
"""What the values of a label may be, where that is a closed set; a test of a real server compares."""


def exported() -> dict[str, frozenset[str]]:
    """The series of every metric: their names and labels."""
    series = dict(OTHERS)
    for one in ALL:
        labels = TARGET.union(one.labels)
        if one.kind == "histogram":
            series |= {f"{one.name}_bucket": labels | {"le"}, f"{one.name}_sum": labels, f"{one.name}_count": labels}
        else:
            series[one.name] = labels
    return series


def labels_of(expression: str) -> frozenset[str]:
    """The labels of an expression's result; AssertionError says what is wrong with it, ValueError that it is none."""
    labels = _labels(promql.parse(expression))
    assert labels is not None, "a number is nothing to alert on or to draw"
    return labels


def names_of(expression: str) -> set[str]:
    """The names of the series that an expression asks for."""
    return set(re.findall(r"\b(?:clipsearch|process)_\w+|\bup\b", expression))


def _labels(node: Any) -> frozenset[str] | None:
    """The labels of a node's result; None where that is a number."""
    match node:
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
        case promql.ParenExpr() | promql.UnaryExpr():
            return _labels(node.expr)
        case promql.MatrixSelector() | promql.VectorSelector():
            return _selected(getattr(node, "vector_selector", node))
        case promql.Call():
            return _called(node)
        case promql.AggregateExpr():
            return _aggregated(node)
        case promql.BinaryExpr():
            return _combined(node)
    raise AssertionError(f"{type(node).__name__} is not understood here")


def _selected(selector: Any) -> frozenset[str]:
    known = exported()
    assert selector.name in known, f"no metric is called {selector.name}"
    for matcher in selector.matchers.matchers:
        assert matcher.name in known[selector.name], f"{selector.name} has no label {matcher.name}"
        closed = VALUES.get(matcher.name)
        if closed and not matcher.value.startswith("$"):
            assert set(matcher.value.split("|")) <= closed, f"{matcher.name} is never {matcher.value}"
    return known[selector.name]


def _called(call: Any) -> frozenset[str] | None:
    vectors = [labels for labels in map(_labels, call.args) if labels is not None]
    if call.func.name in {"time"}:
        return None
    if call.func.name == "vector":
        return frozenset()
    (labels,) = vectors
    if call.func.name == "histogram_quantile":
        assert "le" in labels, "the buckets are added up before their quantile is asked for"
        return labels - {"le"}
    return labels


def _aggregated(aggregate: Any) -> frozenset[str]:
    labels = _labels(aggregate.expr)
    assert labels is not None
    if aggregate.modifier is None:
        return frozenset()
    named = frozenset(aggregate.modifier.labels)
    assert named <= labels, f"nothing has the labels {sorted(named - labels)}"
    return named if aggregate.modifier.type == promql.AggModifierType.By else labels - named


def _combined(binary: Any) -> frozenset[str] | None:
    left, right = _labels(binary.lhs), _labels(binary.rhs)
    if left is None or right is None:
        return left if right is None else right
    matching = binary.modifier.matching if binary.modifier else None
    if matching is None:
        assert left == right, f"the sides never match: {sorted(left)} and {sorted(right)}"
        return left
    named = frozenset(matching.labels)
    if matching.type == promql.LabelModifierType.Include:
        assert named <= left & right, f"one side lacks {sorted(named - (left & right))}"
    else:
        assert left - named == right - named, f"the sides never match: {sorted(left)} and {sorted(right)}"
    return left
