"""The acceptance of a GPU, as far as it goes: verdicts, budget, table, and what it says without one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import acceptance as acc

ROOT = Path(__file__).parents[3]
ENCODERS = json.loads((ROOT / "benchmarks/results/gpu/encoders.json").read_text(encoding="utf-8"))
SERVED = {"works": [{"name": name, "closed": {"answered_s": aim}} for name, aim in acc.AIMS_SERVED.items()]}


def index(recall: float = 0.96, **more: Any) -> dict[str, Any]:
    filtered = {"recall": 0.97, "all_selected": True}
    rates = [{"batch": 1, "queries_s": 900.0}, {"batch": 256, "queries_s": 150_000.0}]
    return {"chosen": {"recall": recall}, "filtered": filtered, "rates": rates, "cpu": {"overlap": 0.99}, **more}


def judged(**changes: Any) -> dict[str, acc.Check]:
    ended = {
        part.name: {"status": 0, "seconds": 1.0, "said": "", "needed": part.needed}
        for part in acc.sections(Path("/x"), ROOT)
    }
    found = {"encoders": ENCODERS, "small index": index(), "large index": index(), "served": SERVED, **changes}
    return {one.name: one for one in acc.checks(ended, found)}


def failed(checks: dict[str, acc.Check]) -> list[str]:
    return [name for name, one in checks.items() if one.failed]


def test_what_an_h200_did_is_accepted_and_its_shortfall_named() -> None:
    checks = judged()
    assert not failed(checks)
    assert [name for name, one in checks.items() if one.verdict == "short"] == [
        "vit-b-32 image: part of the card's peak"
    ]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"encoders": {**ENCODERS, "parity": [{"min_cosine": 0.998}]}}, "towers: smallest cosine"),
        ({"small index": index(cpu={"overlap": 0.89})}, "part of ids as on the CPU"),
        ({"large index": index(0.94)}, "index of 1,000,000: recall@10"),
        ({"large index": index(filtered={"recall": 0.9, "all_selected": True})}, "within a filter"),
        ({"small index": index(filtered={"recall": 0.99, "all_selected": False})}, "nothing else than"),
        ({"large index": {}}, "index of 1,000,000: recall@10"),
        ({"large index": {**index(), "chosen": None}}, "index of 1,000,000: recall@10"),
        ({"encoders": {}}, "towers: smallest cosine"),
    ],
)
def test_what_is_not_reached_or_not_measured_is_not_accepted(changes: dict[str, Any], name: str) -> None:
    assert any(name in one for one in failed(judged(**changes)))


def test_an_aim_that_is_missed_fails_nobody() -> None:
    slow = judged(
        **{
            "large index": index(rates=[{"batch": 256, "queries_s": 10.0}]),
            "pictures": {"parity": {"min_cosine": 0.99}},
            "served": {"works": [{"name": "search by text", "closed": {"answered_s": 4_999.0}}]},
        }
    )
    assert not failed(slow)
    assert "short" in {one.verdict for one in slow.values() if "queries/s" in one.name}
    assert slow["served, search by text: calls/s"].verdict == "short"
    assert slow["served, embed image: calls/s"].verdict == "not measured"
    # Who decodes JPEGs is a choice, and a bad one is not made.
    assert slow["JPEGs by the GPU: smallest cosine with Pillow's"].verdict == "short"
    assert judged()["JPEGs by the GPU: smallest cosine with Pillow's"].verdict == "not measured"


def test_what_has_aims_alone_may_find_no_time_and_nothing_else_may() -> None:
    parts = acc.sections(Path("/x"), ROOT)
    ended = acc.run(parts, 0.0)
    judged = {one.name: one for one in acc.checks(ended, {})}
    assert [part.name for part in parts if not part.needed] == ["pictures", "served"]
    assert all(judged[f"{part.name}: ran"].failed == part.needed for part in parts)


def test_without_a_tokenizer_nothing_is_served(tmp_path: Path) -> None:
    assert "served" in {part.name for part in acc.sections(tmp_path, tmp_path)}
    assert "served" not in {part.name for part in acc.sections(tmp_path, tmp_path / "none")}


def test_parts_keep_to_their_limits_and_the_budget(tmp_path: Path) -> None:
    parts = [
        acc.Section("good", ["-c", "print('done')"], 30.0),
        acc.Section("bad", ["-c", "raise SystemExit('broken')"], 30.0),
        acc.Section("slow", ["-c", "import time; time.sleep(60)"], 0.5),
    ]
    ended = acc.run(parts, 60.0)
    assert [one["status"] for one in ended.values()] == [0, 1, None]
    assert "done" in ended["good"]["said"] and "broken" in ended["bad"]["said"]
    assert ended["slow"]["seconds"] < 10
    assert acc.run(parts[:1], 0.0)["good"]["said"] == "no time was left for it"
    text = acc.table([acc.Check("a figure", 0.5, 1.0)], ended)
    assert "| a figure | 0.5 | 1 | FAIL |" in text and "| slow |" in text


def test_all_parts_fit_the_eight_minutes_that_are_promised() -> None:
    assert acc.BUDGET_S == 480.0
    assert all(Path(part.command[0]).exists() for part in acc.sections(Path("/x"), ROOT) if part.name != "tests")


@pytest.mark.skipif(acc.gpu_name() is not None, reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu/acceptance.py", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "There is no GPU here" in done.stderr
    assert not (tmp_path / "out").exists()
