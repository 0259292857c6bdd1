"""The bundle's manifest: what is written comes back, and what does not fit is refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from clipsearch.encoders.manifest import Manifest, load_bundle
from clipsearch.errors import UnusableBundle
from tests.unit.encoders.helpers import manifest_for, preprocess_rule


def edit(directory: Path, **changes: Any) -> None:
    """Change top-level fields of a manifest; None removes one."""
    path = directory / "manifest.json"
    raw = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in raw.items() if value is not None}))


def test_round_trip(bundle_directory: Path) -> None:
    manifest = load_bundle(bundle_directory).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    (bundle_directory / "manifest.json").unlink()
    assert manifest == manifest_for(bundle_directory)


def test_bundle_knows_its_files(bundle_directory: Path) -> None:
    bundle = load_bundle(bundle_directory)
    assert bundle.tokenizer.read_text() == "the bytes of tokenizer.json"
    assert bundle.text_graph.is_file()
    assert bundle.image_graph.is_file()


@pytest.mark.parametrize("name", ["tokenizer.json", "text.onnx", "image.weights"])
def test_missing_file(bundle_directory: Path, name: str) -> None:
    (bundle_directory / name).unlink()
    with pytest.raises(UnusableBundle, match=f"lacks {name}"):
        load_bundle(bundle_directory)


@pytest.mark.parametrize("name", ["tokenizer.json", "text.onnx", "text.weights", "image.onnx", "image.weights"])
def test_changed_byte(bundle_directory: Path, name: str) -> None:
    data = bytearray((bundle_directory / name).read_bytes())
    data[3] ^= 1
    (bundle_directory / name).write_bytes(data)
    with pytest.raises(UnusableBundle, match=f"{name} does not match its manifest"):
        load_bundle(bundle_directory)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UnusableBundle, match="not a directory"):
        load_bundle(tmp_path / "nowhere")


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(UnusableBundle, match=r"holds no manifest\.json"):
        load_bundle(tmp_path)


def test_manifest_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(UnusableBundle, match="cannot be read"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("{", "not valid JSON"), ("[1]", "does not hold a JSON object"), ("", "not valid JSON"), ("{}", "version None")],
)
def test_not_a_manifest(bundle_directory: Path, text: str, sentence: str) -> None:
    (bundle_directory / "manifest.json").write_text(text)
    with pytest.raises(UnusableBundle, match=sentence):
        load_bundle(bundle_directory)


def test_unknown_version_is_named_before_anything_else(bundle_directory: Path) -> None:
    edit(bundle_directory, format_version=99, parity=None, files=7)
    with pytest.raises(UnusableBundle, match="format version 99"):
        load_bundle(bundle_directory)


@pytest.mark.parametrize(
    ("precision", "version", "overflow"), [("int8", 2, True), ("int8", 3, False), ("fp32", 2, False)]
)
def test_pairs_of_older_int8_bundles_overflow(
    bundle_directory: Path, precision: str, version: int, overflow: bool
) -> None:
    edit(bundle_directory, precision=precision, format_version=version)
    assert load_bundle(bundle_directory).manifest.pairs_overflow is overflow


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"parity": None}, "field 'parity' is missing"),
        ({"dimension": "512"}, "dimension is '512', not of type int"),
        ({"dimension": True}, "dimension is True"),
        ({"image_size": 0}, "image_size is 0"),
        ({"precision": "int4"}, "precision 'int4' is none of fp32, fp16, int8"),
        ({"logit_scale": "hot"}, "logit_scale is 'hot', not a finite number"),
        ({"files": {"../../etc/passwd": "0"}}, "not a plain name"),
        ({"files": {"tokenizer.json": 3}}, "tokenizer.json is 3"),
        ({"attention_nodes": {"text": 1}}, "field 'image' is missing"),
        ({"preprocess": []}, "preprocess is"),
    ],
)
def test_malformed_field(bundle_directory: Path, changes: dict[str, Any], sentence: str) -> None:
    edit(bundle_directory, **changes)
    with pytest.raises(UnusableBundle, match=sentence):
        load_bundle(bundle_directory)


@pytest.mark.parametrize(
    "changes",
    [
        {"shortest_edge": None},
        {"resize_to": [3, 4]},
        {"crop_size": None},
        {"crop_size": [224]},
        {"crop_size": [0, 4]},
        {"mean": [0.5, 0.5]},
        {"std": "abc"},
        {"do_resize": 1},
        {"rescale_factor": float("nan")},
    ],
)
def test_malformed_preprocessing(bundle_directory: Path, changes: dict[str, Any]) -> None:
    raw = json.loads((bundle_directory / "manifest.json").read_text())
    edit(bundle_directory, preprocess=raw["preprocess"] | changes)
    with pytest.raises(UnusableBundle, match="malformed"):
        load_bundle(bundle_directory)


def test_an_unlisted_graph_is_refused(bundle_directory: Path) -> None:
    files = json.loads((bundle_directory / "manifest.json").read_text())["files"]
    del files["image.onnx"]
    edit(bundle_directory, files=files)
    with pytest.raises(UnusableBundle, match=r"does not list image\.onnx"):
        load_bundle(bundle_directory)


def test_rules_compare_by_value() -> None:
    assert preprocess_rule(32) == preprocess_rule(32)
    assert preprocess_rule(32) != preprocess_rule(32, resample=2)
