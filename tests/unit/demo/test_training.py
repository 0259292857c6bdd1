"""How the sample model is trained: tokenizer, positives, loss, exact resuming. Needs the `export` extra."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")

from clipsearch_demo.captions import caption, facts, full_caption
from clipsearch_demo.catalogue.specs import generate_specs
from clipsearch_demo.training.batches import BatchMaker, FactTable, agreement, positives
from clipsearch_demo.training.loop import Schedule, Trainer
from clipsearch_demo.training.loss import contrastive_loss, neighbour_loss
from clipsearch_demo.training.model import (
    CONTEXT_LENGTH,
    IMAGE_SIZE,
    VOCABULARY_SIZE,
    Embedder,
    build_model,
    build_processor,
    load_checkpoint,
    save_checkpoint,
)
from clipsearch_demo.training.tokenizer import train_tokenizer

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

_SPECS = generate_specs(300, seed=41, split="train")


@pytest.fixture(scope="module")
def tokenizer() -> transformers.CLIPTokenizerFast:
    rng = Random(1)
    texts = [caption(spec, rng).text for spec in _SPECS for _ in range(6)]
    return train_tokenizer(texts, VOCABULARY_SIZE, CONTEXT_LENGTH)


def test_the_end_token_is_the_highest_id_and_closes_every_text(tokenizer: transformers.CLIPTokenizerFast) -> None:
    assert len(tokenizer) <= VOCABULARY_SIZE
    assert tokenizer.eos_token_id == len(tokenizer) - 1 == tokenizer.pad_token_id
    assert tokenizer.bos_token_id == len(tokenizer) - 2
    ids = tokenizer(["red dress", "", "x" * 500], truncation=True)["input_ids"]
    assert all(row[0] == tokenizer.bos_token_id and row[-1] == tokenizer.eos_token_id for row in ids)
    assert len(ids[1]) == 2
    assert len(ids[2]) == CONTEXT_LENGTH


def test_any_text_can_be_tokenised_and_case_does_not_matter(tokenizer: transformers.CLIPTokenizerFast) -> None:
    for text in ("Crème brûlée — 赤いドレス 👗", "naïve\tcafé\n42"):
        ids = tokenizer(text)["input_ids"]
        assert ids.count(tokenizer.unk_token_id) == 1, "only the end token itself"
    assert tokenizer("RED  Dress")["input_ids"] == tokenizer("red dress")["input_ids"]


def test_captions_fit_the_context(tokenizer: transformers.CLIPTokenizerFast) -> None:
    rng = Random(2)
    for spec in _SPECS:
        assert len(tokenizer(full_caption(spec, rng, background=True).text)["input_ids"]) <= CONTEXT_LENGTH


def test_positives_are_the_pictures_that_a_caption_describes() -> None:
    rng, table = Random(3), FactTable()
    specs = _SPECS[:80]
    captions = [caption(spec, rng) for spec in specs]
    known = np.array([table.row(spec.kind, facts(spec)) for spec in specs])
    claims = np.array([table.row(c.claims["kind"], c.claims) for c in captions])
    expected = np.array([[c.describes(spec) for c in captions] for spec in specs])
    assert np.array_equal(positives(known, claims), expected)
    assert expected.diagonal().all()
    assert expected.sum() > len(specs)


def test_loss_is_the_plain_contrastive_one_for_single_positives() -> None:
    torch.manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 8), dim=1) for _ in range(2))
    scale = torch.tensor(10.0)
    logits, target = scale * images @ texts.T, torch.arange(6)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    loss = contrastive_loss(images, texts, torch.eye(6, dtype=torch.bool), scale)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_loss_does_not_ask_to_tell_equal_captions_apart() -> None:
    """Two pictures of one kind, twice the same caption: answering both alike is perfect."""
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    truth = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    assert float(contrastive_loss(images, images, truth, torch.tensor(100.0))) == pytest.approx(0.0, abs=1e-5)
    strict = contrastive_loss(images, images, torch.eye(3, dtype=torch.bool), torch.tensor(100.0))
    assert float(strict) == pytest.approx(2 / 3 * math.log(2), abs=1e-3)


def test_neighbours_are_judged_by_kind_first_then_colour_pattern_second_colour() -> None:
    table = FactTable()
    base = facts(_SPECS[0]) | {"kind": "mug", "colour": "red", "pattern": "plain", "second_colour": "blue"}
    others = [
        base | {"second_colour": "white"},
        base | {"pattern": "dotted"},
        base | {"colour": "green"},
        base | {"kind": "hat"},
    ]
    shared = agreement(np.array([table.row(known["kind"], known) for known in [base, *others]]))
    assert shared[0, 0] == pytest.approx(1.0)
    assert list(shared[0]) == sorted(shared[0], reverse=True)
    assert len(set(shared[0].round(4))) == 5
    assert np.array_equal(shared, shared.T)


def test_neighbour_loss_is_zero_for_the_wanted_cosines_and_has_clean_gradients() -> None:
    torch.manual_seed(0)
    free = torch.randn(6, 8, requires_grad=True)
    images = torch.nn.functional.normalize(free, dim=1)
    wanted = (images @ images.T).detach()
    assert float(neighbour_loss(images, wanted).detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(neighbour_loss(images, wanted + 3.0).detach()) == pytest.approx(0.0, abs=1e-5), "up to a constant"
    loss = neighbour_loss(images, torch.rand(6, 6))
    loss.backward()
    assert float(loss.detach()) > 0.05
    assert free.grad is not None and bool(free.grad.isfinite().all())


def _trainer(tokenizer: transformers.CLIPTokenizerFast, steps: int) -> Trainer:
    torch.manual_seed(0)
    pictures = np.random.default_rng(0).integers(0, 256, (40, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    schedule = Schedule(steps=steps, batch=8, warmup=1, log_every=2, evaluate_every=2)
    batches = BatchMaker(_SPECS[:40], pictures, tokenizer, schedule.batch, seed=0)
    return Trainer(build_model(tokenizer), batches, schedule, torch.full((3,), 0.5), torch.full((3,), 0.25))


def test_an_interrupted_run_ends_with_the_same_weights(
    tokenizer: transformers.CLIPTokenizerFast, tmp_path: Path
) -> None:
    whole = _trainer(tokenizer, 4)
    whole.run(tmp_path / "whole.pt", tmp_path / "whole.json", lambda model: {})

    def stop(model: transformers.CLIPModel) -> dict[str, float]:
        evaluated.append(len(evaluated))
        if len(evaluated) == 2:
            raise KeyboardInterrupt
        return {}

    evaluated: list[int] = []
    first = _trainer(tokenizer, 4)
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / "cut.pt", tmp_path / "cut.json", stop)
    second = _trainer(tokenizer, 4)
    second.run(tmp_path / "cut.pt", tmp_path / "cut.json", lambda model: {})
    for a, b in zip(whole.averaged.parameters(), second.averaged.parameters(), strict=True):
        assert torch.equal(a, b)
    curve = json.loads((tmp_path / "cut.json").read_text())["curve"]
    assert [point["step"] for point in curve] == [2, 4]


def test_the_stored_model_is_the_rounded_one_and_loads(
    tokenizer: transformers.CLIPTokenizerFast, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model, processor = build_model(tokenizer).eval(), build_processor(tokenizer, [0.5] * 3, [0.25] * 3)
    save_checkpoint(model, processor, tmp_path)
    assert next(model.parameters()).dtype == torch.float32, "saving leaves the caller's weights alone"
    stored, loaded = load_checkpoint(tmp_path)
    for a, b in zip(model.parameters(), stored.parameters(), strict=True):
        assert torch.equal(a.half().float(), b)
    vectors = Embedder(stored, loaded).texts(["red dress", "a mug"])
    assert vectors.shape == (2, model.config.projection_dim)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert (tmp_path / "model.safetensors").stat().st_size < 4 * 2**20
