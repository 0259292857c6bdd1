"""Checkpoint in, bundle out; or nothing at all."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from clipsearch.encoders.manifest import (
    FORMAT_VERSION,
    IMAGE_GRAPH_FILE,
    MANIFEST_FILE,
    PRECISIONS,
    TEXT_GRAPH_FILE,
    TOKENIZER_FILE,
    AttentionNodes,
    Bundle,
    Manifest,
    Parity,
    Precision,
    TowerParity,
    file_hash,
    load_bundle,
)
from clipsearch.encoders.packing import every_place
from clipsearch.encoders.runtime import onnxruntime
from clipsearch_export.checkpoint import Checkpoint, load_checkpoint
from clipsearch_export.errors import ExportError
from clipsearch_export.graph import OPSET, save
from clipsearch_export.linear import FloatLinear, Int8Linear, LinearWriter
from clipsearch_export.parity import GateReport, compare, require
from clipsearch_export.towers import image_graph, text_graph

_UNMEASURED: Final = Parity(text=TowerParity(0, 0.0, 0.0), image=TowerParity(0, 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished bundle and how it compared."""

    bundle: Bundle
    report: GateReport


def export_checkpoint(
    checkpoint: str | Path,
    out: str | Path,
    precision: Precision = "fp32",
    *,
    force: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Exported:
    """Export a CLIPModel, a local directory or a hub id, to a bundle directory at ``out``.

    The bundle is built beside ``out`` and renamed into place after it passed the parity gate; an existing ``out`` is
    refused unless ``force``, which replaces it. ``progress`` is told each step as it begins. Raises ExportError with
    one sentence, and then leaves no bundle behind.
    """
    target = Path(out)
    if precision not in PRECISIONS:
        raise ExportError(f"Precision {precision!r} is none of {', '.join(PRECISIONS)}.")
    if target.exists() and not force:
        raise ExportError(f"{target} exists already; --force replaces it.")
    if target.exists() and not (target / MANIFEST_FILE).is_file() and (target.is_file() or any(target.iterdir())):
        raise ExportError(f"{target} is not a bundle, so it is not replaced.")
    progress("loading the checkpoint")
    loaded = load_checkpoint(checkpoint)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        building = Path(scratch) / target.name
        building.mkdir(mode=0o755)
        report = _build(loaded, building, precision, progress)
        _move_into_place(building, target, Path(scratch) / "replaced")
    return Exported(bundle=Bundle(target, load_bundle(target).manifest), report=report)


def _build(
    checkpoint: Checkpoint, directory: Path, precision: Precision, progress: Callable[[str], None]
) -> GateReport:
    """Write a complete bundle into an empty directory; raises ExportError where it fails the gate."""
    progress("writing the graphs")
    rule = checkpoint.preprocess_rule()
    weights = checkpoint.weights()
    model = checkpoint.model.config
    text = text_graph(
        weights,
        checkpoint.text_config,
        model.text_config.eos_token_id,
        _linear_writer(precision),
        # fp16 runs on GPUs, whose captured launches want every batch of a size to be alike.
        packed=precision != "fp16",
    )
    files = save(text, directory / TEXT_GRAPH_FILE)
    image = image_graph(weights, checkpoint.image_config, checkpoint.image_size, rule, _linear_writer(precision))
    files += save(image, directory / IMAGE_GRAPH_FILE)
    tokenizer = checkpoint.tokenizer.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(directory / TOKENIZER_FILE))
    files.append(directory / TOKENIZER_FILE)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        source=_public_name(checkpoint.source),
        weight_hash=checkpoint.weight_hash(),
        dimension=model.projection_dim,
        context_length=checkpoint.context_length,
        image_size=checkpoint.image_size,
        preprocess=rule,
        precision=precision,
        opset=OPSET,
        logit_scale=float(np.exp(np.float64(checkpoint.model.logit_scale.item()))),
        # The end token: neither pooling convention can take a later one for the first.
        pad_id=checkpoint.tokenizer.eos_token_id,
        bos_id=checkpoint.tokenizer.bos_token_id,
        eos_id=checkpoint.tokenizer.eos_token_id,
        files={path.name: file_hash(path) for path in sorted(files)},
        attention_nodes=_fused_attention(checkpoint, directory),
        parity=_UNMEASURED,
    )
    progress(f"comparing with transformers ({precision})")
    report = compare(Bundle(directory, manifest), checkpoint)
    require(report, precision)
    (directory / MANIFEST_FILE).write_text(replace(manifest, parity=report.parity).to_json(), encoding="utf-8")
    load_bundle(directory)
    return report


def _linear_writer(precision: Precision) -> LinearWriter:
    if precision == "int8":
        return Int8Linear()
    return FloatLinear(np.float32 if precision == "fp32" else np.float16)


def _fused_attention(checkpoint: Checkpoint, directory: Path) -> AttentionNodes:
    """Run each graph once and count the attention kernels that ran; raises ExportError where layers lack theirs.

    Counting nodes in the file would prove little: ``Attention`` has a decomposition, and a runtime without a kernel for
    it quietly runs that.
    """
    size = checkpoint.image_size
    ids = np.full((2, 3), checkpoint.tokenizer.eos_token_id, dtype=np.int64)
    feeds: dict[str, dict[str, Any]] = {
        TEXT_GRAPH_FILE: {"ids": ids, **every_place(*ids.shape)},
        IMAGE_GRAPH_FILE: {"pixels": np.zeros((2, size, size, 3), dtype=np.uint8)},
    }
    text, image = (executed_kernels(directory / name, feed)["Attention"] for name, feed in feeds.items())
    for tower, counted, layers in (
        ("text", text, checkpoint.text_config.layers),
        ("image", image, checkpoint.image_config.layers),
    ):
        if counted != layers:
            raise ExportError(
                f"The {tower} graph ran {counted} fused attention nodes for {layers} layers; "
                "this ONNX Runtime is not fit to serve it."
            )
    return AttentionNodes(text=text, image=image)


def executed_kernels(graph: Path, feed: dict[str, Any]) -> Counter[str]:
    """Run a graph once on the CPU and count what ran, by operator; what it does not take of ``feed`` is left out."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        session.run(None, {one.name: feed[one.name] for one in session.get_inputs()})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return Counter(
        event["args"]["op_name"]
        for event in events
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time")
    )


def _move_into_place(building: Path, target: Path, replaced: Path) -> None:
    if target.exists():
        target.rename(replaced)
    try:
        building.rename(target)
    except OSError:
        if replaced.exists():
            replaced.rename(target)
        raise


def _public_name(source: str) -> str:
    """Give a hub id as it is, and of a directory its name alone: a manifest travels, and paths tell on machines."""
    return Path(source).resolve().name if Path(source).is_dir() else source
