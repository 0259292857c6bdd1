"""How large batches are where nobody says."""

from dataclasses import replace
from pathlib import Path

import pytest

from clipsearch.encoders.load import Encoders, load_encoders
from clipsearch.lanes import (
    GPU_IMAGE_ITEMS,
    GPU_TEXT_TOKENS,
    IMAGE_ITEMS,
    TEXT_TOKENS,
    TINY_IMAGE_ITEMS,
    TINY_TEXT_TOKENS,
    image_batch_items,
    text_batch_tokens,
)
from clipsearch.settings import Settings

SAMPLE_BUNDLE = Path(__file__).parents[2] / "demo/clipsearch_demo/model/bundle"


def settings(**more: object) -> Settings:
    return Settings.model_validate({"bundle": SAMPLE_BUNDLE, **more})


@pytest.fixture(scope="module")
def tiny() -> Encoders:
    return load_encoders(SAMPLE_BUNDLE)


def test_on_a_cpu_batches_grow_with_the_threads_that_compute_one(tiny: Encoders) -> None:
    ordinary = replace(tiny, small=False)
    for threads in (1, 4):
        given = settings(encoder_threads=threads)
        assert text_batch_tokens(given, ordinary) == threads * TEXT_TOKENS
        assert image_batch_items(given, ordinary) == threads * IMAGE_ITEMS


def test_tiny_towers_and_gpus_have_batches_of_their_own(tiny: Encoders) -> None:
    given = settings(encoder_threads=4)
    assert (text_batch_tokens(given, tiny), image_batch_items(given, tiny)) == (TINY_TEXT_TOKENS, TINY_IMAGE_ITEMS)
    on_gpu = replace(tiny, device="cuda")
    assert (text_batch_tokens(given, on_gpu), image_batch_items(given, on_gpu)) == (GPU_TEXT_TOKENS, GPU_IMAGE_ITEMS)


def test_what_is_set_is_taken(tiny: Encoders) -> None:
    given = settings(text_batch_tokens=100, image_batch_items=3)
    for encoders in (tiny, replace(tiny, small=False), replace(tiny, device="cuda")):
        assert (text_batch_tokens(given, encoders), image_batch_items(given, encoders)) == (100, 3)
