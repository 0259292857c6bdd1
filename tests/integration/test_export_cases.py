"""What the parity gate compares on."""

import io

import pytest
from PIL import Image

from clipsearch_export import cases


def test_enough_pictures_without_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "_photographs", lambda: iter(()))
    drawn = cases.pictures.__wrapped__(1)
    assert len(drawn) >= 64
    assert len({name for name, _ in drawn}) == len(drawn)
    opened = [Image.open(io.BytesIO(data)) for _, data in drawn]
    assert {picture.format for picture in opened} == {"JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"}
    assert {picture.mode for picture in opened} >= {"RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I;16"}
    assert cases.pictures.__wrapped__(1) == drawn


@pytest.mark.parametrize("context_length", [4, 16, 77, 248])
def test_enough_texts_of_all_lengths(context_length: int) -> None:
    texts = cases.texts(["red", "shoe", "bag"], context_length, seed=1)
    assert len(texts) >= 64
    words = {len(text.split()) for text in texts}
    assert "" in texts
    assert max(words) > context_length
    assert len(words & set(range(context_length))) >= min(context_length, 40) - 1
    assert cases.texts(["red", "shoe", "bag"], context_length, seed=1) == texts
