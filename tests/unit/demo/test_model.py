"""The committed sample model: its size, its agreement with its bundle, and that it finds what it never saw."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

import clipsearch_demo
from clipsearch_demo import quality
from clipsearch_demo.captions import full_caption
from clipsearch_demo.catalogue.render import render
from clipsearch_demo.catalogue.specs import generate_specs

_MODEL = Path(clipsearch_demo.__file__).parent / "model"
_CHECKPOINT, _BUNDLE = _MODEL / "checkpoint", _MODEL / "bundle"


def test_checkpoint_and_bundle_are_small_enough_for_a_repository() -> None:
    sizes = [path.stat().st_size for folder in (_CHECKPOINT, _BUNDLE) for path in folder.iterdir()]
    assert sum(sizes) <= 10_000_000
    assert max(sizes) < 4 * 2**20


def test_bundle_and_checkpoint_belong_together() -> None:
    config = json.loads((_CHECKPOINT / "config.json").read_text())
    manifest = json.loads((_BUNDLE / "manifest.json").read_text())
    assert manifest["dimension"] == config["projection_dim"]
    assert manifest["image_size"] == config["vision_config"]["image_size"] >= 64
    assert manifest["context_length"] == config["text_config"]["max_position_embeddings"]
    assert manifest["eos_id"] == config["text_config"]["eos_token_id"] == config["text_config"]["vocab_size"] - 1
    assert (_BUNDLE / "tokenizer.json").read_bytes() == (_CHECKPOINT / "tokenizer.json").read_bytes()


def test_the_training_curve_ends_converged() -> None:
    run = json.loads((_MODEL / "training_curve.json").read_text())
    assert run["curve"][-1]["step"] == run["schedule"]["steps"]
    assert run["curve"][-1]["text_recall@10"] >= 0.9


@pytest.mark.export
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_it_finds_pictures_of_combinations_it_never_saw() -> None:
    pytest.importorskip("torch", reason="needs the export extra")
    from clipsearch_demo.training.model import Embedder, load_checkpoint

    specs = generate_specs(200, seed=77, split="held_out")
    rng = Random(77)
    captions = [full_caption(spec, rng, background=True) for spec in specs]
    embedder = Embedder(*load_checkpoint(_CHECKPOINT))
    pictures = embedder.images([render(spec) for spec in specs])
    ranked = quality.top_rows(embedder.texts([c.text for c in captions]), pictures, 10)
    recall = quality.exact_recall(ranked, range(len(specs)), (1, 10))
    assert recall["recall@1"] >= 0.85
    assert recall["recall@10"] >= 0.98
