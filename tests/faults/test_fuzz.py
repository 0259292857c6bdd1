"""Damaged pictures and messages: the short version of the script."""

import random
from collections.abc import Callable, Iterator

import pytest

from .fuzz import Case, damaged_messages, damaged_pictures, run
from .fuzz_seeds import pictures, requests
from .mutations import mutate
from .served import Server, item_of


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("fuzz") / "data") as server:
        server.client.upsert([item_of(item, 0) for item in range(20)])
        yield server


@pytest.mark.parametrize("make", [damaged_pictures, damaged_messages])
def test_every_answer_is_a_proper_status(server: Server, make: Callable[[int, int], Iterator[Case]]) -> None:
    outcome = run(server, make(600, 7))
    assert sum(outcome.statuses.values()) == 600
    assert not outcome.improper
    assert len(outcome.reasons) >= 4, "damage of several kinds is recognised"
    assert not server.troubles()


def test_what_is_not_damaged_is_answered(server: Server) -> None:
    """Else the damaged would be refused for another reason than their damage."""
    good = ((kind, data) for kind, data in pictures().items())
    cases = [(kind, method, data) for kind, data in good for method, data in [_embed(data)]]
    outcome = run(server, iter(cases))
    assert set(outcome.statuses) == {f"{kind}: OK" for kind in pictures()}


def _embed(image: bytes) -> tuple[str, bytes]:
    (case,) = [
        (method, type(many[0])(image=image).SerializeToString())
        for method, many in requests().items()
        if method.endswith("/EmbedImage")
    ]
    return case


def test_a_picture_that_pillow_complains_about_leaves_the_log_alone(server: Server) -> None:
    """A TIFF of eight samples a pixel, of which Pillow says so on its logger as well."""
    tiff = bytearray(pictures()["TIFF"])
    samples = tiff.index(b"\x15\x01\x03\x00\x01\x00\x00\x00\x03\x00")  # tag 277, a short, one of them, 3
    tiff[samples + 8] = 8
    outcome = run(server, iter([("TIFF", *_embed(bytes(tiff)))]))
    assert set(outcome.reasons) == {"IMAGE_UNSUPPORTED_FORMAT"} and not outcome.improper
    assert not server.troubles()


def test_damage_repeats_with_its_seed_and_is_damage() -> None:
    good = list(pictures().values())
    once, again = ([mutate(random.Random(seed), good[0], good) for seed in range(50)] for _ in range(2))
    assert once == again
    assert sum(data != good[0] for data in once) >= 45
