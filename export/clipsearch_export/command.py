"""``clipsearch export``: the command line of the export."""

from pathlib import Path
from typing import cast

import click
from rich.console import Console
from rich.table import Table

from clipsearch.encoders.manifest import PRECISIONS, Precision
from clipsearch_export.bundle import Exported, export_checkpoint
from clipsearch_export.errors import ExportError


@click.command()
@click.argument("checkpoint")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory of the bundle to write.")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True,
    help="fp32 anywhere, fp16 for CUDA, int8 for the CPU.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def export(checkpoint: str, out: Path, precision: str, force: bool) -> None:
    """Export CHECKPOINT, a directory or hub id of a CLIPModel, to an ONNX bundle.

    The bundle is compared with the checkpoint on texts and pictures, and kept only if their embeddings agree.
    """
    console = Console(stderr=True)
    try:
        with console.status("starting") as status:
            exported = export_checkpoint(
                checkpoint,
                out,
                cast(Precision, precision),
                force=force,
                progress=lambda step: status.update(f"{step} …"),
            )
    except ExportError as exc:
        raise click.ClickException(exc.message) from exc
    except OSError as exc:
        raise click.ClickException(f"{out} cannot be written: {exc.strerror or exc}.") from exc
    Console().print(_table(exported))


def _table(exported: Exported) -> Table:
    manifest = exported.bundle.manifest
    table = Table(title=f"{exported.bundle.path}  ·  {manifest.precision}  ·  {manifest.dimension} dimensions")
    for heading in ("tower", "cases", "min cosine", "mean cosine", "spread", "attention", "MB"):
        table.add_column(heading, justify="left" if heading == "tower" else "right")
    for tower, comparison, nodes in (
        ("text", exported.report.text, manifest.attention_nodes.text),
        ("image", exported.report.image, manifest.attention_nodes.image),
    ):
        figure = comparison.figure
        size = sum(path.stat().st_size for path in exported.bundle.path.glob(f"{tower}.*"))
        table.add_row(
            tower, str(figure.cases), f"{figure.min_cosine:.6f}", f"{figure.mean_cosine:.6f}",
            f"{comparison.spread:.3f}", str(nodes), f"{size / 1e6:.1f}",
        )  # fmt: skip
    return table
