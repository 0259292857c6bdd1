"""Real bundles to swap between: the sample model in two precisions, and a model with nothing in common with it."""

from dataclasses import dataclass
from pathlib import Path

from clipsearch_export.bundle import export_checkpoint
from tests.integration.export_support import tiny_checkpoint
from tests.integration.support import ROOT, SAMPLE_BUNDLE

SAMPLE_CHECKPOINT = ROOT / "demo/clipsearch_demo/model/checkpoint"


@dataclass(frozen=True)
class Bundles:
    """``fp32`` and ``int8`` are of the same weights; ``other`` has others, another dimension and another image size."""

    fp32: Path
    int8: Path
    other: Path


def make_bundles(directory: Path) -> Bundles:
    """Export what is not in the repository."""
    for name, checkpoint, precision in (
        ("int8", SAMPLE_CHECKPOINT, "int8"),
        ("other", tiny_checkpoint(directory / "checkpoint"), "fp32"),
    ):
        export_checkpoint(str(checkpoint), directory / name, precision)  # type: ignore[arg-type]  # one of them
    return Bundles(SAMPLE_BUNDLE, directory / "int8", directory / "other")
