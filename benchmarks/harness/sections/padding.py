"""What cutting texts to their natural length is worth: the same graph and queries, with and without padding to 77."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from clipsearch.encoders.manifest import load_bundle
from clipsearch.encoders.tokenizer import BpeTokenizer

from ..context import Context
from ..figures import ratios, summarise
from ..models import random_bundle
from ..raw import Batch, Choice, RawSession, best_choice
from ..report import Line, Outcome
from ..workload import queries, repeated
from .throughput import TEXT_SIZES

TEXTS = 8
TARGET = 4.0
PADDED_SIZES = (1, 2, 4, 8, 16, 32)


def padding(context: Context) -> Outcome:
    """Compare at the best batch of each."""
    outcome = Outcome()
    for precision in context.precisions:
        context.say(f"padding {precision}: preparing the model")
        bundle = load_bundle(random_bundle(context.work, precision, context.seed, context.tokenizer))
        tokenizer, manifest = BpeTokenizer.of(bundle), bundle.manifest
        ids = [tokenizer(text).ids for text in queries(TEXTS, context.seed)]
        padded = np.full(manifest.context_length, manifest.pad_id, dtype=np.int64)
        padded[: len(ids[0])] = ids[0]
        pace = context.pace
        with RawSession() as raw:
            sides: list[tuple[Choice, Callable[[int], Sequence[Batch]], list[float]]] = []
            # Padded rows cost the same whatever they hold, so one of them stands for all.
            for rows, sizes in ((ids, TEXT_SIZES), ([padded], PADDED_SIZES)):
                make = _maker(rows)
                choice, _ = best_choice(
                    raw,
                    bundle.text_graph,
                    make_batches=make,
                    sizes=sizes,
                    seconds=pace.sweep_s,
                    passes=pace.sweep_passes,
                )
                sides.append((choice, make, []))
            for number in range(pace.rounds):
                context.say(f"padding {precision}: round {number + 1} of {pace.rounds}")
                for choice, make, rates in sides:
                    if raw.spinning != choice.spinning:
                        raw.open(bundle.text_graph, choice.spinning)
                    costs = raw.run(make(choice.batch), pace.seconds)
                    rates.append(len(costs) / sum(costs))
        (natural_choice, _, natural), (padded_choice, _, full) = sides
        outcome.lines += [
            Line("padding", f"{precision}: natural length", "texts/s", summarise(natural)),
            Line("padding", f"{precision}: padded to {manifest.context_length}", "texts/s", summarise(full)),
            Line("padding", f"{precision}: natural / padded", "x", summarise(ratios(natural, full)), TARGET),
        ]
        outcome.samples[precision] = {
            "natural": natural, "natural_choice": asdict(natural_choice), "token_counts": [len(row) for row in ids],
            "padded": full, "padded_choice": asdict(padded_choice),
        }  # fmt: skip
    return outcome


def _maker(rows: Sequence[Batch]) -> Callable[[int], Sequence[Batch]]:
    return lambda size: [repeated([row], size) for row in rows]
