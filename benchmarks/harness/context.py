"""What every section is told: where to work, with what, and how long to take."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured. ``rounds`` times each side of a comparison takes its turn, ``seconds`` long.

    Pictures take longer (``image_seconds``): they come in batches, at a tenth of the rate of texts.
    """

    rounds: int
    seconds: float
    image_seconds: float
    warm_up_s: float
    sweep_s: float
    sweep_passes: int
    idle_calls: int
    mixed_requests: int
    mixed_warm_up: int
    catalogue_items: int


FULL = Pace(
    rounds=5,
    seconds=4.0,
    image_seconds=10.0,
    warm_up_s=1.5,
    sweep_s=0.6,
    sweep_passes=2,
    idle_calls=64,
    mixed_requests=200_000,
    mixed_warm_up=50_000,
    catalogue_items=6000,
)
QUICK = Pace(
    rounds=2,
    seconds=1.5,
    image_seconds=4.0,
    warm_up_s=0.5,
    sweep_s=0.1,
    sweep_passes=1,
    idle_calls=16,
    mixed_requests=2000,
    mixed_warm_up=500,
    catalogue_items=600,
)


@dataclass(frozen=True, slots=True)
class Context:
    """One run of the benchmark."""

    work: Path
    tokenizer: Path
    sample_bundle: Path
    precisions: tuple[str, ...]
    seed: int
    pace: Pace
    say: Callable[[str], None]

    def log(self, name: str) -> Path:
        """Return the path of a server's log."""
        return self.work / "logs" / f"{name.replace('/', '-').replace(' ', '-')}.log"
