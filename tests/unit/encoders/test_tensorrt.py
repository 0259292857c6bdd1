"""What TensorRT is told about a bundle, and who is refused. No engine is made here: that takes a GPU."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from clipsearch.encoders.manifest import Manifest, load_bundle
from clipsearch.encoders.runtime import TENSORRT, TensorRt, onnxruntime
from clipsearch.encoders.tensorrt import check_available, profile, provider_options
from clipsearch.errors import DeviceUnavailable
from tests.integration.support import SAMPLE_BUNDLE

BUNDLE = load_bundle(SAMPLE_BUNDLE)


@pytest.fixture
def manifest() -> Manifest:
    return replace(BUNDLE.manifest, precision="fp16", context_length=77, image_size=224)


def test_engines_are_made_for_all_shapes_that_a_server_sends(manifest: Manifest, tmp_path: Path) -> None:
    limits = TensorRt(tmp_path, texts=256, pictures=64)
    assert profile(BUNDLE.text_graph, manifest, limits).options() == {
        "trt_profile_min_shapes": "ids:1x1",
        "trt_profile_opt_shapes": "ids:32x16",
        "trt_profile_max_shapes": "ids:256x77",
    }
    assert profile(BUNDLE.image_graph, manifest, limits).options() == {
        "trt_profile_min_shapes": "pixels:1x224x224x3",
        "trt_profile_opt_shapes": "pixels:32x224x224x3",
        "trt_profile_max_shapes": "pixels:64x224x224x3",
    }
    few = profile(BUNDLE.text_graph, replace(manifest, context_length=8), TensorRt(tmp_path, texts=4, pictures=1))
    assert (few.usual, few.largest) == ((4, 8), (4, 8))


def test_the_profile_names_the_inputs_of_the_graphs(manifest: Manifest, tmp_path: Path) -> None:
    limits = TensorRt(tmp_path, texts=8, pictures=8)
    for path in (BUNDLE.text_graph, BUNDLE.image_graph):
        session = onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].name == profile(path, manifest, limits).name


def test_what_an_engine_depends_on_leads_to_its_directory(manifest: Manifest, tmp_path: Path) -> None:
    limits = TensorRt(tmp_path / "engines", texts=64, pictures=64)

    def kept(given: Manifest = manifest, most: TensorRt = limits, version: str = "10.9", image: bool = False) -> str:
        path = BUNDLE.image_graph if image else BUNDLE.text_graph
        options = provider_options(path, given, most, version)
        assert options["trt_timing_cache_path"] == options["trt_engine_cache_path"]
        assert Path(options["trt_engine_cache_path"]).is_dir()
        return options["trt_engine_cache_path"]

    assert kept() == kept()
    graph, other = BUNDLE.text_graph.name, BUNDLE.image_graph.name
    changed = [
        kept(replace(manifest, files={**manifest.files, graph: "ab"})),
        kept(most=replace(limits, texts=128)),
        kept(version="10.10"),
        kept(image=True),
    ]
    assert len({kept(), *changed}) == 5
    assert kept(replace(manifest, files={**manifest.files, other: "ab"})) == kept()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_other_bundles_are_refused(manifest: Manifest, tmp_path: Path, precision: str) -> None:
    wrong = replace(manifest, precision=precision)  # type: ignore[arg-type]
    with pytest.raises(DeviceUnavailable, match=f"this one is {precision}; export it as fp16"):
        provider_options(BUNDLE.text_graph, wrong, TensorRt(tmp_path, 8, 8), "10")


def test_a_directory_that_cannot_be_made_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceUnavailable, match="tensorrt_engines cannot be used: Not a directory"):
        provider_options(BUNDLE.text_graph, manifest, TensorRt(tmp_path / "file", 8, 8), "10")


def test_without_tensorrt_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = onnxruntime()
    if TENSORRT not in runtime.get_available_providers():
        with pytest.raises(DeviceUnavailable, match="the installed ONNX Runtime has no TensorRT"):
            check_available()
        monkeypatch.setattr(runtime, "get_available_providers", lambda: [TENSORRT])
    # The libraries come in a package of their own; None makes its import fail as if it were not installed.
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceUnavailable, match=r"TensorRT cannot be had: .*; install 'tensorrt-cu13<11'"):
        check_available()
