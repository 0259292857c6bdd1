"""How well the sample model finds pictures it has never seen, measured through the served pipeline.

    python benchmarks/quality.py                       start a server with the sample bundle, measure, write the result
    python benchmarks/quality.py --address HOST:PORT   the same through a server that runs already
    python benchmarks/quality.py --checkpoint DIR      with transformers in process: the reference, to compare with

The gallery is drawn from combinations of kind, colour and pattern that training never saw. Pictures go in as JPEG and
texts as strings, so decoding, resizing, tokenising, batching and the ONNX graphs are all part of what is measured.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

import numpy as np
from harness.facts import environment
from harness.models import ROOT, SAMPLE_BUNDLE
from harness.server import clipsearch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from clipsearch_demo import quality
from clipsearch_demo.captions import Caption, full_caption, partial_caption
from clipsearch_demo.catalogue.render import render
from clipsearch_demo.catalogue.specs import ProductSpec, generate_specs, held_out_combinations

RESULT = ROOT / "benchmarks" / "results" / "quality.json"
_KS = (1, 5, 10)
_FIELDS = ("kind", "colour", "pattern", "second_colour")


class Embed(Protocol):
    """Embeds what a caller would send: texts, and pictures as JPEG; unit vectors, float32 (n, dimension)."""

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of texts."""
        ...

    def images(self, jpegs: Sequence[bytes]) -> NDArray[np.float32]:
        """Unit vectors of pictures."""
        ...


class ServedEmbed:
    """Embeds through a running server, by the client that callers use."""

    def __init__(self, address: str) -> None:
        from clipsearch.client import Client

        self._client = Client(address)
        self._client.wait_until_ready(120)

    def _embed(self, items: Sequence[str | bytes]) -> NDArray[np.float32]:
        vectors: list[NDArray[np.float32]] = []
        for result in self._client.embed_batch(items, timeout=120):
            if isinstance(result, Exception):
                raise result
            vectors.append(result.vector)
        return np.stack(vectors)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of texts."""
        return self._embed(texts)

    def images(self, jpegs: Sequence[bytes]) -> NDArray[np.float32]:
        """Unit vectors of pictures."""
        return self._embed(jpegs)


class ReferenceEmbed:
    """Embeds with `transformers` in this process; needs the `export` extra."""

    def __init__(self, checkpoint: Path) -> None:
        from clipsearch_demo.training.model import Embedder, load_checkpoint

        self._embedder = Embedder(*load_checkpoint(checkpoint))

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of texts."""
        return self._embedder.texts(list(texts))

    def images(self, jpegs: Sequence[bytes]) -> NDArray[np.float32]:
        """Unit vectors of pictures."""
        from PIL import Image

        return self._embedder.images([Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in jpegs])


@dataclass(frozen=True)
class Exam:
    """The gallery and the questions; row i of `jpegs` is the picture of `gallery[i]`."""

    gallery: list[ProductSpec]
    jpegs: list[bytes]
    full: list[Caption]
    with_background: list[Caption]
    partial: list[Caption]
    simple: list[Caption]


def _jpeg(spec: ProductSpec) -> bytes:
    encoded = io.BytesIO()
    render(spec).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


def make_exam(count: int, seed: int) -> Exam:
    """Draw `count` pictures of held-out combinations and write their captions."""
    gallery = generate_specs(count, seed, "held_out")
    seen = [spec.combination for spec in gallery if spec.combination not in held_out_combinations()]
    if seen:
        raise ValueError(f"{len(seen)} pictures are of combinations that training saw, such as {seen[0]}")
    with multiprocessing.get_context("spawn").Pool() as pool:
        jpegs = pool.map(_jpeg, gallery, chunksize=32)
    rng = Random(f"exam {seed}")
    pairs = sorted({(spec.colour, spec.kind) for spec in gallery})
    return Exam(
        gallery,
        jpegs,
        full=[full_caption(spec, rng) for spec in gallery],
        with_background=[full_caption(spec, rng, background=True) for spec in gallery],
        partial=[partial_caption(spec, rng) for spec in gallery],
        simple=[Caption(f"{colour} {kind}", {"colour": colour, "kind": kind}) for colour, kind in pairs],
    )


def measure(exam: Exam, embed: Embed) -> dict[str, Any]:
    """All figures of one way of embedding."""
    pictures = embed.images(exam.jpegs)
    own = range(len(exam.gallery))
    figures: dict[str, Any] = {}
    for name, captions in (("full_captions", exam.full), ("full_captions_with_background", exam.with_background)):
        ranked = quality.top_rows(embed.texts([c.text for c in captions]), pictures, max(_KS))
        figures[name] = {
            "exact_picture": quality.exact_recall(ranked, own, _KS),
            "any_picture_that_fits": quality.matching_recall(ranked, captions, exam.gallery, _KS),
        }
    for name, captions in (("partial_captions", exam.partial), ("colour_and_kind", exam.simple)):
        ranked = quality.top_rows(embed.texts([c.text for c in captions]), pictures, max(_KS))
        precision, counted = quality.matching_precision(ranked, captions, exam.gallery, 10)
        figures[name] = {"queries": counted, "precision@10": precision}
    figures["image_to_image_precision@10"] = quality.neighbour_precision(pictures, exam.gallery, _FIELDS, 10)
    return figures


def _print(figures: dict[str, Any], seconds: float) -> None:
    table = Table("query", "measure", "value", title=f"quality on held-out combinations ({seconds:.0f} s)")
    for name, values in figures.items():
        for measure_name, value in values.items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            for part, number in parts:
                table.add_row(name, f"{measure_name} {part}".strip(), str(number))
    Console().print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--address", help="a running server")
    way.add_argument("--checkpoint", type=Path, help="measure transformers in process instead of a server")
    parser.add_argument("--bundle", type=Path, default=SAMPLE_BUNDLE)
    parser.add_argument("--pictures", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=2026, help="of the gallery and the captions")
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write the result."""
    arguments = _arguments()
    exam = make_exam(arguments.pictures, arguments.seed)
    started = time.monotonic()
    if arguments.checkpoint:
        way, figures = "transformers", measure(exam, ReferenceEmbed(arguments.checkpoint))
    elif arguments.address:
        way, figures = "server", measure(exam, ServedEmbed(arguments.address))
    else:
        log = ROOT / "build" / "benchmarks" / "quality-server.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with clipsearch(arguments.bundle, log) as server:
            way, figures = "server", measure(exam, ServedEmbed(server.address))
    _print(figures, time.monotonic() - started)
    settings = {"through": way, "gallery": len(exam.gallery), "seed": arguments.seed, "combinations": "held out"}
    result = {"benchmark": "quality", "settings": settings, "environment": environment(ROOT), "figures": figures}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
