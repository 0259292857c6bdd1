"""`python -m clipsearch_demo.training`: train the sample model from nothing and write its checkpoint.

Needs the `export` extra. Everything is seeded; a run that was interrupted goes on where it last saved.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from clipsearch_demo import quality
from clipsearch_demo.captions import caption, full_caption
from clipsearch_demo.catalogue.specs import ProductSpec, generate_specs
from clipsearch_demo.training.batches import BatchMaker
from clipsearch_demo.training.loop import Evaluate, Schedule, Trainer
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
from clipsearch_demo.training.pictures import draw_pictures
from clipsearch_demo.training.tokenizer import train_tokenizer

_TRAIN_SEED = 11
_VALIDATION_SEED = 7
_VALIDATION_COUNT = 1_600
_CHECKPOINT = Path(__file__).parent.parent / "model" / "checkpoint"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m clipsearch_demo.training", description=__doc__)
    parser.add_argument("--out", type=Path, default=_CHECKPOINT, help="directory of the checkpoint")
    parser.add_argument("--work", type=Path, default=Path("build/sample-model"), help="pictures and saved state")
    parser.add_argument("--pictures", type=int, default=24_000, help="how many training pictures to draw")
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--sparse-share", type=float, default=0.75, help="share of steps that see half of the patches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def channel_statistics(pictures: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of pixels in 0 … 1, from a sample of the pictures."""
    sample = pictures[:: max(1, len(pictures) // 2000)].reshape(-1, 3) / 255.0
    return [round(float(x), 4) for x in sample.mean(axis=0)], [round(float(x), 4) for x in sample.std(axis=0)]


def evaluator(specs: list[ProductSpec], pictures: NDArray[np.uint8], processor: CLIPProcessor) -> Evaluate:
    """A function that gives the headline figures of a model on held-out combinations, to watch a run by.

    Nothing is chosen by them: the run ends at its last step whatever they say, and the committed result is measured on
    other pictures.
    """
    rng = Random("validation")
    captions = [full_caption(spec, rng, background=rng.random() < 0.5) for spec in specs]
    images = [Image.fromarray(picture) for picture in pictures]

    def evaluate(model: CLIPModel) -> dict[str, float]:
        embedder = Embedder(model.eval(), processor)
        vectors = embedder.images(images)
        ranked = quality.top_rows(embedder.texts([c.text for c in captions]), vectors, 10)
        near = quality.neighbour_precision(vectors, specs, ("kind", "colour", "pattern"))
        recall = quality.exact_recall(ranked, range(len(specs)), (1, 10))
        return {f"text_{k}": v for k, v in recall.items()} | {f"image_{k}": v for k, v in near.items()}

    return evaluate


def main() -> None:
    """Draw, learn the vocabulary, train, save, and check what was saved."""
    arguments = _arguments()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    schedule = Schedule(steps=arguments.steps, batch=arguments.batch, sparse_share=arguments.sparse_share)
    specs = generate_specs(arguments.pictures, _TRAIN_SEED, "train")
    held_out = generate_specs(_VALIDATION_COUNT, _VALIDATION_SEED, "held_out")
    pictures = draw_pictures(specs, IMAGE_SIZE, arguments.work / f"train-{len(specs)}-{IMAGE_SIZE}.npy")
    unseen = draw_pictures(held_out, IMAGE_SIZE, arguments.work / f"held-out-{len(held_out)}-{IMAGE_SIZE}.npy")
    rng = Random(f"vocabulary {arguments.seed}")
    texts = (caption(spec, rng).text for spec in specs)
    tokenizer = train_tokenizer(texts, VOCABULARY_SIZE, CONTEXT_LENGTH)
    mean, std = channel_statistics(pictures)
    processor = build_processor(tokenizer, mean, std)
    batches = BatchMaker(specs, pictures, tokenizer, schedule.batch, arguments.seed)
    trainer = Trainer(build_model(tokenizer), batches, schedule, torch.tensor(mean), torch.tensor(std))
    evaluate = evaluator(held_out, unseen, processor)
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    trainer.run(arguments.work / "state.pt", arguments.out.parent / "training_curve.json", evaluate)
    save_checkpoint(trainer.averaged, processor, arguments.out)
    stored, _ = load_checkpoint(arguments.out)
    print("as stored (fp16):", evaluate(stored))


if __name__ == "__main__":
    main()
