"""What the live catalogue's figures are made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.live_harness import stages as stages_module
from benchmarks.live_harness.context import QUICK, Context, prepare
from benchmarks.live_harness.load import PICKS, _rates, item
from benchmarks.live_harness.stages import Stages


def test_stages_tell_when_a_build_was_where(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    class Clock:
        perf_counter: Callable[[], float] = staticmethod(lambda: now[0])

    monkeypatch.setattr(stages_module, "time", Clock)
    stages = Stages()
    for moment, stage, done in ((1.0, "reading", 1), (2.0, "tuning", 1), (5.0, "tuning", 9)):
        now[0] = moment
        stages.report(stage, done, 9)
    now[0] = 7.0
    assert stages.seconds() == {"starting": 1.0, "reading": 1.0, "tuning": 3.0, "publishing": 2.0}
    assert [stages.at(moment) for moment in (-1.0, 0.5, 1.0, 4.9, 6.0)] == [
        "starting", "starting", "reading", "tuning", "publishing",
    ]  # fmt: skip


def test_rates_are_of_parts_of_the_load_in_their_order() -> None:
    done = [(float(second), 100) for second in range(1, 11)] + [(10.0 + 2 * turn, 100) for turn in range(1, 11)]
    assert _rates(0.0, done) == [100.0] * 5 + [50.0] * 5
    assert _rates(0.0, [(2.0, 10)]) == [5.0]


def test_items_are_spread_over_the_picks() -> None:
    vector = np.full(4, 2.0, np.float16)
    picks = {item(number, vector).metadata for number in range(PICKS)}
    assert len(picks) == PICKS
    assert np.linalg.norm(item(1, vector).embedding.astype(np.float32)) == pytest.approx(1.0, abs=1e-3)  # type: ignore[union-attr]


def test_vectors_are_made_once_for_the_same_settings(tmp_path: Path) -> None:
    said: list[str] = []
    context = Context(tmp_path, 300, 16, 0, ("retrain",), QUICK, said.append)
    first, again = prepare(context), prepare(context)
    assert len(said) == 1
    np.testing.assert_array_equal(first.base, again.base)
    assert first.base.shape == (300, 16) and len(first.newer) == 1000
    other = prepare(Context(tmp_path, 300, 16, 1, ("retrain",), QUICK, said.append))
    assert len(said) == 2 and not np.array_equal(first.images, other.images)
