"""Towers and runtime over hand-made graphs: batching, devices, warm-up, and what serving may import."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsearch.encoders import runtime
from clipsearch.encoders.manifest import Bundle, Manifest
from clipsearch.encoders.preprocess import PillowPreprocessor
from clipsearch.encoders.processor import multiplies_bytes
from clipsearch.encoders.runtime import (
    CUDA,
    Fill,
    PooledGraph,
    RuntimeOptions,
    onnxruntime,
    open_session,
    resolve_device,
)
from clipsearch.encoders.towers import OnnxImageEncoder, OnnxTextEncoder
from clipsearch.errors import ComputeFailed, DeviceUnavailable, UnusableBundle
from clipsearch.ports import Vectors
from tests.unit.encoders.helpers import manifest_for, preprocess_rule

onnx = pytest.importorskip("onnx")

CPU = RuntimeOptions(device="cpu", threads=1)
Build = Callable[..., Bundle]


def graph(input_name: str, kind: int, shape: list[Any], nodes: list[Any], dimension: int | None = 4) -> bytes:
    """An ONNX graph from ``input_name`` to ``embedding``."""
    helper = onnx.helper
    built = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info(input_name, kind, shape)],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["batch", dimension])],
    )
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def text_tower(factor: float = 1.0) -> bytes:
    """[sum of ids, number of ids, first id, 1] of each row, of unit length times ``factor``."""
    node = onnx.helper.make_node
    nodes = [
        node("Cast", ["ids"], ["floats"], to=onnx.TensorProto.FLOAT),
        node("Constant", [], ["one"], value_ints=[1]),
        node("Constant", [], ["start"], value_ints=[0]),
        node("ReduceSum", ["floats", "one"], ["sum"], keepdims=1),
        node("Slice", ["floats", "start", "one", "one"], ["first"]),
        node("Sub", ["sum", "sum"], ["none"]),
        node("Div", ["first", "first"], ["unit"]),
        node("Concat", ["sum", "none", "first", "unit"], ["all"], axis=1),
        node("LpNormalization", ["all"], ["normal"], axis=-1, p=2),
        node("Constant", [], ["factor"], value_float=factor),
        node("Mul", ["normal", "factor"], ["embedding"]),
    ]
    return graph("ids", onnx.TensorProto.INT64, ["batch", "length"], nodes)


def image_tower() -> bytes:
    """The first four bytes of each picture's first row, of unit length."""
    node = onnx.helper.make_node
    nodes = [
        node("Flatten", ["pixels"], ["flat"]),
        node("Constant", [], ["start"], value_ints=[0]),
        node("Constant", [], ["end"], value_ints=[4]),
        node("Constant", [], ["axis"], value_ints=[1]),
        node("Slice", ["flat", "start", "end", "axis"], ["some"]),
        node("Cast", ["some"], ["floats"], to=onnx.TensorProto.FLOAT),
        node("LpNormalization", ["floats"], ["embedding"], axis=-1, p=2),
    ]
    return graph("pixels", onnx.TensorProto.UINT8, ["batch", 8, 8, 3], nodes)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Give a function that makes a bundle of the given graphs."""

    def make(text: bytes | None = None, image: bytes | None = None, **changes: Any) -> Bundle:
        (tmp_path / "tokenizer.json").write_text("{}")
        (tmp_path / "text.onnx").write_bytes(text if text is not None else text_tower())
        (tmp_path / "image.onnx").write_bytes(image if image is not None else image_tower())
        manifest: Manifest = replace(
            manifest_for(tmp_path), dimension=4, context_length=9, image_size=8, pad_id=0, bos_id=1, eos_id=2
        )
        return Bundle(tmp_path, replace(manifest, **changes))

    return make


def ids(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def test_texts_of_all_lengths_go_together(build: Build) -> None:
    encoder = OnnxTextEncoder(build(), CPU)
    rows = [ids(1, 5, 2), ids(1, 2), ids(1, 9, 9, 9, 9, 2)]
    together = encoder.encode(rows)
    assert together.shape == (3, 4)
    assert together.dtype == np.float32
    for row, vector in zip(rows, together, strict=True):
        assert np.array_equal(encoder.encode([row])[0], vector)
    assert encoder.encode([]).shape == (0, 4)


def test_pictures_go_together(build: Build) -> None:
    encoder = OnnxImageEncoder(build(), CPU)
    pictures = [np.random.default_rng(n).integers(1, 256, (8, 8, 3)).astype(np.uint8) for n in range(5)]
    together = encoder.encode(pictures)
    for picture, vector in zip(pictures, together, strict=True):
        expected = picture.reshape(-1)[:4].astype(np.float32)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), rtol=1e-6)
        assert np.array_equal(encoder.encode([picture])[0], vector)
    assert encoder.encode([]).shape == (0, 4)


def test_warm_up_passes_on_good_towers(build: Build) -> None:
    bundle = build()
    OnnxTextEncoder(bundle, CPU).warm_up()
    OnnxImageEncoder(bundle, CPU).warm_up()


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 0.5, 0.0])
def test_warm_up_refuses_vectors_that_are_not_unit(build: Build, factor: float) -> None:
    with pytest.raises(ComputeFailed, match="not finite and of unit length"):
        OnnxTextEncoder(build(text=text_tower(factor)), CPU).warm_up()


def test_warm_up_refuses_another_dimension(build: Build) -> None:
    with pytest.raises(ComputeFailed, match="text tower answered"):
        OnnxTextEncoder(build(dimension=5), CPU).warm_up()


def test_a_failing_run_is_ours_and_keeps_its_cause(build: Build) -> None:
    encoder = OnnxImageEncoder(build(), CPU)
    with pytest.raises(ComputeFailed) as caught:
        encoder.encode([np.zeros((4, 4, 3), dtype=np.uint8)])
    assert "Got invalid dimensions" in str(caught.value.__cause__)


def test_a_file_that_is_no_graph(build: Build) -> None:
    with pytest.raises(UnusableBundle, match=r"text\.onnx cannot be loaded"):
        OnnxTextEncoder(build(text=b"nonsense"), CPU)


def test_devices_resolve_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime(), "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert resolve_device("auto", "fp32") == "cpu"
    assert resolve_device("cpu", "fp16") == "cpu"
    with pytest.raises(DeviceUnavailable, match="cuda was asked for"):
        resolve_device("cuda", "fp16")
    with pytest.raises(DeviceUnavailable, match="none of auto, cpu, cuda"):
        resolve_device("tpu", "fp32")  # type: ignore[arg-type]


def test_devices_resolve_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime(), "get_available_providers", lambda: providers)
    monkeypatch.setattr(runtime, "why_no_gpu", lambda: None)
    assert resolve_device("auto", "fp16") == "cuda"
    assert resolve_device("cuda", "fp32") == "cuda"
    assert resolve_device("cpu", "fp16") == "cpu"
    assert resolve_device("auto", "int8") == "cpu"
    with pytest.raises(DeviceUnavailable, match="int8 bundle is made for the CPU"):
        resolve_device("cuda", "int8")


def test_where_cuda_has_no_gpu_auto_takes_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image for GPUs that is started on a machine without one, or without its driver."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime(), "get_available_providers", lambda: providers)
    monkeypatch.setattr(runtime, "why_no_gpu", lambda: "cudaErrorInsufficientDriver")
    assert resolve_device("auto", "fp16") == "cpu"
    with pytest.raises(DeviceUnavailable, match="there is no GPU to compute on: cudaErrorInsufficientDriver"):
        resolve_device("cuda", "fp16")


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.filterwarnings("ignore:.*is not in available provider names")
def test_cuda_that_does_not_come_up_is_an_error(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime says CUDA is there, and the session comes up on the CPU: the silent fallback."""
    ort = onnxruntime()
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA, so it would come up")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    with pytest.raises(DeviceUnavailable, match=r"was asked for|CUDA cannot be used"):
        open_session(build().text_graph, {CUDA: {}}, threads=1)


def test_telemetry_is_off_before_the_import() -> None:
    script = """
        import os
        from clipsearch.encoders.runtime import onnxruntime
        import sys
        assert "onnxruntime" not in sys.modules
        onnxruntime()
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    """
    run(script)


def test_serving_imports_no_torch(build: Build) -> None:
    bundle = build()
    script = f"""
        import sys
        from pathlib import Path
        import numpy as np
        import clipsearch.encoders.load
        from clipsearch.encoders.manifest import Bundle, Manifest
        from clipsearch.encoders.runtime import RuntimeOptions
        from clipsearch.encoders.towers import OnnxImageEncoder, OnnxTextEncoder

        path = Path({str(bundle.path)!r})
        manifest = Manifest.from_json({bundle.manifest.to_json()!r})
        options = RuntimeOptions(device="cpu", threads=1)
        OnnxTextEncoder(Bundle(path, manifest), options).encode([np.array([1, 2])])
        OnnxImageEncoder(Bundle(path, manifest), options).encode([np.zeros((8, 8, 3), np.uint8)])
        heavy = {{"torch", "transformers", "optimum", "onnx", "clipsearch_export"}} & set(sys.modules)
        assert not heavy, heavy
    """
    run(script)


def run(script: str) -> None:
    """Run Python code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_rule_that_gives_another_size_is_refused() -> None:
    from clipsearch.errors import UnsupportedImage
    from tests.unit.encoders.helpers import encode, photo

    rule = preprocess_rule(32, do_resize=False, do_center_crop=False)
    preprocess = PillowPreprocessor(rule, 32)
    assert preprocess(encode(photo(32, 32), "PNG")).shape == (32, 32, 3)
    with pytest.raises(UnsupportedImage, match="40 x 32"):
        preprocess(encode(photo(40, 32), "PNG"))


class HeldSession:
    """Stands in for a session: every run waits for permission, and the order of the runs is kept."""

    def __init__(self, name: str, began: list[str]) -> None:
        self.name, self.began = name, began
        self.started, self.permits = threading.Semaphore(0), threading.Semaphore(0)

    packs = False

    def run(self, shape: tuple[int, ...], fill: Fill, lengths: Sequence[int] | None = None) -> Vectors:
        self.began.append(self.name)
        self.started.release()
        assert self.permits.acquire(timeout=10)
        if not shape:
            raise ComputeFailed("no")
        return np.empty(shape, dtype=np.float32)


def test_a_run_that_is_alone_is_wide_and_those_beside_it_are_narrow() -> None:
    began: list[str] = []
    narrow, wide = HeldSession("narrow", began), HeldSession("wide", began)
    pooled = PooledGraph(narrow, wide)
    first = threading.Thread(target=pooled.run, args=((1,), np.ndarray.sort))
    first.start()
    assert wide.started.acquire(timeout=10)
    second = threading.Thread(target=pooled.run, args=((1,), np.ndarray.sort))
    second.start()
    assert narrow.started.acquire(timeout=10)
    wide.permits.release()
    first.join(10)
    third = threading.Thread(target=pooled.run, args=((1,), np.ndarray.sort))
    third.start()
    assert narrow.started.acquire(timeout=10), "the second still runs"
    narrow.permits.release(2)
    second.join(10)
    third.join(10)
    wide.permits.release(2)
    with pytest.raises(ComputeFailed):
        pooled.run((), np.ndarray.sort)
    pooled.run((1,), np.ndarray.sort)
    assert began == ["wide", "narrow", "narrow", "wide", "wide"], "a failed run counts as ended"


def test_two_sessions_answer_alike_and_both_are_warmed_up(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "clipsearch.encoders.runtime"):
        tower = OnnxTextEncoder(build(), RuntimeOptions(device="cpu", threads=1, lone_threads=2))
    assert [record.getMessage().rpartition(" with ")[2] for record in caplog.records] == ["1 threads", "2 threads"]
    tower.warm_up()
    ids = np.array([[1, 5, 2]], dtype=np.int64)
    one, two = (session.run(ids.shape, lambda into: np.copyto(into, ids)) for session in tower._graph.sessions)
    assert np.array_equal(one, two)
    assert np.array_equal(tower.encode(list(ids)), one)


@pytest.mark.parametrize(
    ("format_version", "vnni", "whole"), [(2, False, True), (2, True, False), (3, False, False), (3, True, False)]
)
def test_only_old_int8_bundles_on_processors_that_cut_sums_off_take_the_slower_kernel(
    format_version: int, vnni: bool, whole: bool, bundle_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(runtime, "multiplies_bytes", lambda: vnni)
    monkeypatch.setattr(runtime, "open_session", lambda *_, whole_sums, **__: asked.append(whole_sums) or Unopened())
    manifest = replace(manifest_for(bundle_directory), precision="int8", format_version=format_version)
    PooledGraph.load(bundle_directory / "text.onnx", manifest, RuntimeOptions("cpu", threads=1, lone_threads=2))
    assert asked == [whole, whole]


class Unopened:
    """Stands in for a session that is never run."""

    class _One:
        name, type = "ids", "tensor(int64)"

    def get_inputs(self) -> list[Any]:
        return [self._One]

    get_outputs = get_inputs


def test_vnni_is_told_by_the_flags_of_linux(tmp_path: Path) -> None:
    about = tmp_path / "cpuinfo"
    assert not multiplies_bytes(about), "another system"
    for flags, has in (("avx2 avx512_vnni", True), ("avx2 avx_vnni sha_ni", True), ("avx2 avx512vl", False)):
        about.write_text(f"processor : 0\nflags : fpu {flags}\n")
        assert multiplies_bytes(about) is has
