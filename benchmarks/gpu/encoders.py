"""The towers on a GPU: parity with the CPU, items a second by batch, and what each part of the path is worth.

    python benchmarks/gpu/encoders.py --out DIR [--models vit-b-32 …] [--seconds 1]

Weights are seeded and random, at the sizes that OpenAI published. The share of the card's peak is of a float16 matrix
product of 8192³ measured in the same run; operations are those of the whole towers as published, attention included.
Ways that are called fused run a graph that exports do not have (benchmarks/gpu/fusing.py): whether they should is what
they are measured for.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from transformers import CLIPConfig

from benchmarks.gpu.callers import rate
from benchmarks.gpu.fusing import fused
from benchmarks.random_checkpoint import GEOMETRIES, random_model
from clipsearch.encoders.cuda import CudaGraph
from clipsearch.encoders.manifest import PreprocessRule
from clipsearch.encoders.runtime import CUDA, CpuGraph, open_session
from clipsearch_export.graph import save
from clipsearch_export.linear import FloatLinear
from clipsearch_export.towers import TowerConfig, image_graph, text_graph

RULE = PreprocessRule(
    True, 224, None, 3, True, (224, 224), True, True, 1 / 255,
    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), True,
)  # fmt: skip
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
EXACT_NORMS = {**CUDA_OPTIONS, "enable_skip_layer_norm_strict_mode": "1"}
"""ONNX Runtime says of it, which is about norms that add: more exact, and slower."""
BATCHES = (1, 4, 16, 64, 128, 256)
PARITY_ITEMS = 32
LENGTH = 16


@dataclass(frozen=True)
class Case:
    """One tower of one model: items, its files by precision, "fused" among them, and operations for one item."""

    model: str
    tower: str
    files: dict[str, Path]
    items: np.ndarray[Any, Any]
    flops: float


@dataclass(frozen=True)
class Figure:
    """Items a second of one way of running."""

    model: str
    tower: str
    way: str
    batch: int
    items_s: float
    tflops: float
    of_peak: float


def flops_of(width: int, layers: int, length: int) -> float:
    """Operations of a tower for one item: projections, MLP (24 w² a token) and attention (4 l w)."""
    return layers * (24.0 * length * width * width + 4.0 * length * length * width)


def make_cases(name: str, directory: Path) -> tuple[list[Case], Any]:
    """Write both towers of a model at both precisions."""
    config = CLIPConfig(**GEOMETRIES[name])
    model = random_model(config, seed=1)
    weights = {key: tensor.detach().numpy() for key, tensor in model.state_dict().items()}
    rng = np.random.default_rng(0)
    cases = []
    for tower, part in (("image", config.vision_config), ("text", config.text_config)):
        shape = TowerConfig(part.num_hidden_layers, part.num_attention_heads, part.hidden_size,
                            part.layer_norm_eps, part.hidden_act)  # fmt: skip
        files = {}
        for precision, dtype in (("fp32", np.float32), ("fp16", np.float16)):
            files[precision] = directory / f"{name}-{tower}-{precision}.onnx"
            linear = FloatLinear(dtype)  # type: ignore[arg-type]
            if tower == "image":
                graph = image_graph(weights, shape, 224, RULE, linear)
            else:
                graph = text_graph(weights, shape, config.text_config.eos_token_id, linear, packed=False)
            save(graph, files[precision])
        files["fused"] = fused(files["fp16"])
        if tower == "image":
            coarse = rng.integers(0, 256, (max(BATCHES), 14, 14, 3), dtype=np.uint8)
            items = coarse.repeat(16, axis=1).repeat(16, axis=2)
            length = (224 // part.patch_size) ** 2 + 1
        else:
            items = rng.integers(1, 49000, (max(BATCHES), LENGTH)).astype(np.int64)
            items[:, 0], items[:, -1], length = 49406, 49407, LENGTH
        cases.append(Case(name, tower, files, items, flops_of(part.hidden_size, part.num_hidden_layers, length)))
    return cases, model


def with_float_pixels(path: Path) -> Path:
    """Write an image graph once more that takes its pixels as float32, four bytes for each that went up before.

    It stands beside the first, whose weights it shares, and its values are still 0 to 255.
    """
    graph = onnx.load(str(path), load_external_data=False)
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    wide = path.with_name(f"{path.stem}-float{path.suffix}")
    onnx.save(graph, str(wide))
    return wide


def run_of(graph: Any, items: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Run some items through a graph of either device."""

    def fill(into: np.ndarray[Any, Any]) -> None:
        into[: len(items)] = items

    vectors: np.ndarray[Any, Any] = graph.run(items.shape, fill)
    return vectors


def peak_tflops() -> float:
    """Return the rate of a float16 matrix product of 8192³, the best of five spells."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    best = 0.0
    for _ in range(5):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(20):
            a @ b
        torch.cuda.synchronize()
        best = max(best, 20 * 2 * 8192**3 / (time.perf_counter() - began) / 1e12)
    return best


def parity(case: Case) -> dict[str, Any]:
    """Return cosines between the float32 graph on the CPU and the float16 graph on the GPU."""
    items = case.items[:PARITY_ITEMS]
    exact = run_of(CpuGraph(case.files["fp32"], 0), items)
    graph = CudaGraph(case.files["fp16"])
    cosines = np.concatenate([(exact * run_of(graph, items)).sum(axis=1) for _ in range(3)])
    alone = np.concatenate([run_of(graph, items[i : i + 1]) for i in range(4)])
    exactly = open_session(case.files["fused"], {CUDA: EXACT_NORMS}, 1)
    (strict,) = exactly.run(None, {exactly.get_inputs()[0].name: items})
    return {
        "model": case.model,
        "tower": case.tower,
        "min_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
        "alone_cosine": float((alone * exact[:4]).sum(axis=1).min()),
        "fused_cosine": float((run_of(CudaGraph(case.files["fused"]), items) * exact).sum(axis=1).min()),
        "fused_exact_norms_cosine": float((strict * exact).sum(axis=1).min()),
    }


def ways(case: Case) -> dict[str, tuple[Callable[[np.ndarray[Any, Any]], object], int]]:
    """Return the ways to run a tower, each with how many callers feed it."""
    cuda = {CUDA: CUDA_OPTIONS}
    plain = open_session(case.files["fp16"], cuda, 1)
    exactly = open_session(case.files["fused"], {CUDA: EXACT_NORMS}, 1)
    name = plain.get_inputs()[0].name
    uncaptured, captured = CudaGraph(case.files["fp16"], capture=False), CudaGraph(case.files["fp16"])
    fewer = CudaGraph(case.files["fused"])
    found: dict[str, tuple[Callable[[np.ndarray[Any, Any]], object], int]] = {
        "session.run": (lambda items: plain.run(None, {name: items}), 1),
        "bound": (lambda items: run_of(uncaptured, items), 1),
        "bound, two in flight": (lambda items: run_of(uncaptured, items), 2),
        "captured, two in flight": (lambda items: run_of(captured, items), 2),
        "session.run, fused, exact norms": (lambda items: exactly.run(None, {name: items}), 1),
        "captured, two in flight, fused": (lambda items: run_of(fewer, items), 2),
    }
    if case.tower == "image":
        wide = open_session(with_float_pixels(case.files["fp16"]), cuda, 1)
        # Made float32 beforehand: what is compared is the way up, not who converts.
        as_float = {len(items): items.astype(np.float32) for items in (case.items[:batch] for batch in BATCHES)}
        found["session.run, float32 pixels"] = (lambda items: wide.run(None, {name: as_float[len(items)]}), 1)
    return found


def torch_ways(case: Case, model: Any, compiled: bool) -> Callable[[np.ndarray[Any, Any]], object]:
    """Return the same work in PyTorch: uint8 or ids up, embeddings down, float16, SDPA."""
    mean, std = (torch.tensor(part, device="cuda", dtype=torch.float16) for part in (RULE.mean, RULE.std))

    def image(items: Any) -> Any:
        pixels = ((items.half() / 255 - mean) / std).permute(0, 3, 1, 2)
        return model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)

    def text(items: Any) -> Any:
        return model.text_projection(model.text_model(input_ids=items).pooler_output)

    forward: Any = image if case.tower == "image" else text
    forward = torch.compile(forward) if compiled else forward

    def run(items: np.ndarray[Any, Any]) -> object:
        with torch.inference_mode():
            found = forward(torch.from_numpy(items).pin_memory().to("cuda", non_blocking=True))
            return torch.nn.functional.normalize(found.float(), dim=-1).cpu().numpy()

    return run


def measure(case: Case, model: Any, peak: float, seconds: float, compiled: bool) -> list[Figure]:
    """Measure one tower at every batch size."""
    found = []
    all_ways = ways(case)
    all_ways["torch, compiled" if compiled else "torch"] = (torch_ways(case, model, compiled), 1)
    for batch in BATCHES:
        for way, (run, callers) in all_ways.items():
            if way.startswith("torch") and batch not in (64, 256):
                continue
            items = np.ascontiguousarray(case.items[:batch])
            items_s, _ = rate(lambda _, run=run, items=items: run(items), batch, seconds, callers)  # type: ignore[misc]
            tflops = items_s * case.flops / 1e12
            found.append(Figure(case.model, case.tower, way, batch, round(items_s, 1), round(tflops, 1),
                                round(tflops / peak, 3)))  # fmt: skip
            print(found[-1], flush=True)
    return found


def main() -> None:
    """Measure and write ``encoders.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(GEOMETRIES))
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    peak = peak_tflops()
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(), "peak_tflops": round(peak, 1), "length": LENGTH, "parity": [],
        "figures": [],
    }  # fmt: skip
    for name in given.models:
        with tempfile.TemporaryDirectory() as directory:
            cases, model = make_cases(name, Path(directory))
            on_gpu = model.half().to("cuda")
            for case in cases:
                result["parity"].append(parity(case))
                print(result["parity"][-1], flush=True)
                compiled = given.compile and case.tower == "image"
                result["figures"] += map(asdict, measure(case, on_gpu, peak, given.seconds, compiled))
                (given.out / "encoders.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
