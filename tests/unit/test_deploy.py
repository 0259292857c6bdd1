"""The alert rules and the dashboard ask for metrics that the code exports, with labels that they have."""

import json
import re
from typing import Any

import pytest
import yaml

from clipsearch.errors import Code
from clipsearch.telemetry.metrics import ALL
from tests.unit.docs_blocks import ROOT
from tests.unit.promql import exported, labels_of, names_of

GROUPS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8"))["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy/grafana/clipsearch.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

TARGETS = [
    pytest.param(target["expr"], target["legendFormat"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]


def rules() -> Any:
    return pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])


@rules()
def test_an_alert_asks_for_what_is_exported_and_names_labels_of_its_result(rule: dict[str, Any]) -> None:
    labels = labels_of(rule["expr"])
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert used <= labels
    assert "instance" in used, "whoever is woken wants to know by which server"


@rules()
def test_an_alert_has_a_severity_and_a_section_in_the_guide(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    guide = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{rule['alert']}` \|", guide, re.MULTILINE), "why is it there?"


def test_the_guide_explains_no_alert_that_is_gone() -> None:
    guide = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(Clipsearch\w+)` \|", guide, re.MULTILINE)) == {rule["alert"] for rule in RULES}


def test_the_codes_of_errors_are_codes() -> None:
    codes = {code.name for code in Code} | {"OK", "UNKNOWN"}
    files = [json.dumps(RULES), json.dumps(DASHBOARD)]
    matched = [found for text in files for found in re.findall(r'code[!=~]+\\+"([^"\\]+)', text)]
    named = {code for alternatives in matched for code in alternatives.split("|")}
    assert {"INTERNAL", "UNAVAILABLE"} <= named <= codes


@pytest.mark.parametrize(("expression", "legend"), TARGETS)
def test_a_panel_asks_for_what_is_exported_and_names_labels_of_its_result(expression: str, legend: str) -> None:
    asked = expression.replace("$__rate_interval", "5m")
    assert set(re.findall(r"{{(\w+)}}", legend)) <= labels_of(asked)


def test_every_metric_is_in_the_dashboard() -> None:
    asked = {name for panel in PANELS for target in panel["targets"] for name in names_of(target["expr"])}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in exported() else name for name in asked}
    missing = {one.name for one in ALL} - shown - {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert not missing


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("rate(clipsearch_request_total[5m])", "no metric is called"),
        ('clipsearch_queue_items{stage="text"}', "has no label stage"),
        ('clipsearch_queue_items{lane="texts"}', "lane is never texts"),
        ("sum by (method) (rate(clipsearch_batch_seconds_count[5m]))", "nothing has the labels"),
        ("histogram_quantile(0.9, sum by (lane) (rate(clipsearch_batch_seconds_bucket[5m])))", "added up before"),
        ("clipsearch_lane_items / clipsearch_queue_items", "never match"),
        ("clipsearch_serving and on (lane) clipsearch_lane_items", "lacks"),
    ],
)
def test_an_expression_without_an_answer_is_found_out(expression: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        labels_of(expression)
