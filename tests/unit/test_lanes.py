"""How large batches are where nobody says."""

from typing import Literal

from clipsearch.lanes import FOR_EACH_THREAD, OF_TINY_TOWERS, ON_GPU, BatchSizes, batch_sizes
from clipsearch.settings import Settings
from tests.integration.support import SAMPLE_BUNDLE


def settings(**more: object) -> Settings:
    return Settings.model_validate({"bundle": SAMPLE_BUNDLE, **more})


def test_on_a_cpu_batches_grow_with_the_threads_that_compute_one() -> None:
    assert batch_sizes(settings(encoder_threads=1), "cpu", small=False) == FOR_EACH_THREAD
    four = batch_sizes(settings(encoder_threads=4), "cpu", small=False)
    assert four == BatchSizes(4 * FOR_EACH_THREAD.text_tokens, 4 * FOR_EACH_THREAD.image_items)


def test_tiny_towers_and_gpus_have_batches_of_their_own() -> None:
    given = settings(encoder_threads=4)
    assert batch_sizes(given, "cpu", small=True) == OF_TINY_TOWERS
    assert batch_sizes(given, "cuda", small=True) == batch_sizes(given, "cuda", small=False) == ON_GPU


def test_what_is_set_is_taken_and_the_rest_is_not_changed() -> None:
    devices: tuple[Literal["cpu", "cuda"], ...] = ("cpu", "cuda")
    for device in devices:
        for small in (True, False):
            before = batch_sizes(settings(), device, small=small)
            assert batch_sizes(settings(text_batch_tokens=100), device, small=small) == BatchSizes(
                100, before.image_items
            )
            assert batch_sizes(settings(image_batch_items=3), device, small=small) == BatchSizes(before.text_tokens, 3)
