"""Real bundles to swap between: the sample model in two precisions, and a model with nothing in common with it.

The libraries that export are imported when something is exported: most tests need none.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.integration.support import ROOT, SAMPLE_BUNDLE

SAMPLE_CHECKPOINT = ROOT / "demo/clipsearch_demo/model/checkpoint"


@dataclass(frozen=True)
class Bundles:
    """``directory`` holds them all. ``fp32`` and ``int8`` are of the same weights; ``other`` has others, and another
    dimension.
    """

    directory: Path

    @property
    def fp32(self) -> Path:
        return self.directory / "fp32"

    @property
    def int8(self) -> Path:
        return self.directory / "int8"

    @property
    def other(self) -> Path:
        return self.directory / "other"


def make_bundles(directory: Path) -> Bundles:
    """Copy what is in the repository and export what is not."""
    from clipsearch_export.bundle import export_checkpoint
    from tests.integration.export_support import tiny_checkpoint

    bundles = Bundles(directory)
    shutil.copytree(SAMPLE_BUNDLE, bundles.fp32)
    export_checkpoint(str(SAMPLE_CHECKPOINT), bundles.int8, "int8")
    export_checkpoint(str(tiny_checkpoint(directory / "checkpoint")), bundles.other, "fp32")
    return bundles
