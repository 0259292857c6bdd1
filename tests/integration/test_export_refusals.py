"""What cannot be exported: one sentence, a status, and nothing left behind."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")

from clipsearch_export import parity
from clipsearch_export.bundle import export_checkpoint
from clipsearch_export.cases import pictures, texts
from clipsearch_export.command import export
from clipsearch_export.errors import ExportError
from clipsearch_export.parity import REQUIREMENTS, Requirement
from tests.integration.export_support import tiny_checkpoint

pytestmark = pytest.mark.export


@pytest.fixture(autouse=True)
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare on a handful of cases: what is tested here is what happens around the gate."""
    monkeypatch.setattr(parity, "pictures", lambda seed: pictures(seed)[:5])
    monkeypatch.setattr(parity, "texts", lambda words, length, seed: texts(words, length, seed)[:5])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "tiny")


def run(checkpoint: Path | str, out: Path, *options: str) -> Result:
    return CliRunner().invoke(export, [str(checkpoint), "--out", str(out), *options])


def refused(result: Result, sentence: str) -> None:
    """One sentence on standard error, no traceback, status 1."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    message = result.stderr.strip()
    assert message.startswith("Error: ")
    assert message.endswith(".")
    assert len(message.splitlines()) == 1
    assert sentence in message


def test_success_prints_the_figures(checkpoint: Path, tmp_path: Path) -> None:
    result = run(checkpoint, tmp_path / "bundle", "--precision", "int8")
    assert result.exit_code == 0, result.output
    assert "min cosine" in result.output
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_failing_the_gate_leaves_nothing(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REQUIREMENTS, "int8", Requirement(min_cosine=1.0, mean_cosine=1.0))
    out = tmp_path / "bundles" / "int8"
    refused(run(checkpoint, out, "--precision", "int8"), "falls short of parity")
    assert list(out.parent.iterdir()) == []


def test_failing_the_gate_keeps_the_old_bundle(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundles" / "bundle"
    export_checkpoint(checkpoint, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setitem(REQUIREMENTS, "fp32", Requirement(min_cosine=1.1, mean_cosine=1.0))
    refused(run(checkpoint, out, "--force"), "falls short of parity")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert list(out.parent.iterdir()) == [out]


def test_an_existing_bundle_needs_force(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundles" / "bundle"
    export_checkpoint(checkpoint, out)
    refused(run(checkpoint, out), "exists already")
    assert run(checkpoint, out, "--force", "--precision", "fp16").exit_code == 0
    assert json.loads((out / "manifest.json").read_text())["precision"] == "fp16"
    assert list(out.parent.iterdir()) == [out]


def test_force_replaces_bundles_only(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("ten years of work")
    refused(run(checkpoint, out, "--force"), "is not a bundle")
    assert (out / "chapter1.txt").read_text() == "ten years of work"


def test_unknown_precision(checkpoint: Path, tmp_path: Path) -> None:
    result = run(checkpoint, tmp_path / "bundle", "--precision", "int4")
    assert result.exit_code == 2
    assert "'int4' is not one of 'fp32', 'fp16', 'int8'" in result.stderr
    with pytest.raises(ExportError, match="Precision 'int4' is none of fp32, fp16, int8"):
        export_checkpoint(checkpoint, tmp_path / "bundle", "int4")  # type: ignore[arg-type]


def test_no_such_directory(tmp_path: Path) -> None:
    refused(run(tmp_path / "nowhere", tmp_path / "bundle"), "does not exist")


def test_not_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(run(tmp_path / "empty", tmp_path / "bundle"), "holds no config.json")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("model.safetensors", "weights of"),
        ("preprocessor_config.json", "image processor of"),
        ("config.json", "holds no config.json"),
    ],
)
def test_missing_file(checkpoint: Path, tmp_path: Path, name: str, sentence: str) -> None:
    (checkpoint / name).unlink()
    refused(run(checkpoint, tmp_path / "bundle"), sentence)
    assert not (tmp_path / "bundle").exists()


def test_missing_tokenizer(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"):
        (checkpoint / name).unlink(missing_ok=True)
    refused(run(checkpoint, tmp_path / "bundle"), "tokenizer of")


def test_torn_weights(checkpoint: Path, tmp_path: Path) -> None:
    data = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused(run(checkpoint, tmp_path / "bundle"), "weights of")


def test_incomplete_weights_are_not_filled_in_at_random(checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / "model.safetensors"
    weights = safetensors.load_file(path)
    del weights["text_projection.weight"]
    safetensors.save_file(weights, path, metadata={"format": "pt"})
    refused(run(checkpoint, tmp_path / "bundle"), "1 are missing, as text_projection.weight")


def test_another_architecture(tmp_path: Path) -> None:
    transformers.BertConfig(architectures=["BertModel"]).save_pretrained(tmp_path / "bert")
    refused(run(tmp_path / "bert", tmp_path / "bundle"), "architecture 'bert'")


def test_one_tower_is_not_enough(checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    config["architectures"] = ["CLIPVisionModelWithProjection"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    refused(run(checkpoint, tmp_path / "bundle"), "is a CLIPVisionModelWithProjection")


def test_unsupported_activation(checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    config["vision_config"]["hidden_act"] = "silu"
    (checkpoint / "config.json").write_text(json.dumps(config))
    refused(run(checkpoint, tmp_path / "bundle"), "activation 'silu' is not supported")


def test_a_processor_of_another_size(checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "preprocessor_config.json").read_text())
    config["crop_size"] = {"height": 60, "width": 60}
    (checkpoint / "preprocessor_config.json").write_text(json.dumps(config))
    refused(run(checkpoint, tmp_path / "bundle"), "64x64 pixels")


def test_the_hub_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(run("some-team/some-clip", tmp_path / "bundle"), "the model hub did not deliver it")
