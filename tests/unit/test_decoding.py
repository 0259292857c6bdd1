"""What turns pictures into pixels, by the settings. Processes are tested in encoders/test_isolation.py."""

from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from clipsearch import decoding
from clipsearch.decoding import Decoding
from clipsearch.encoders.isolation import IsolatedPreprocessor
from clipsearch.encoders.load import load_encoders
from clipsearch.encoders.nvjpeg import NvJpeg
from clipsearch.encoders.preprocess import ImageLimits
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.errors import TooManyPixels
from clipsearch.settings import Settings
from tests.integration.support import SAMPLE_BUNDLE
from tests.unit.encoders.helpers import encode, photo

ENCODERS = load_encoders(SAMPLE_BUNDLE, RuntimeOptions("cpu"), ImageLimits(max_pixels=100_000))
JPEG = encode(photo(300, 200), "JPEG")


def settings(**more: object) -> Settings:
    return Settings.model_validate({"bundle": SAMPLE_BUNDLE, "decode_threads": 1, "max_image_pixels": 100_000, **more})


def test_processes_unless_it_is_said_otherwise() -> None:
    own, apart = Decoding(settings(decode_isolation="none")), Decoding(settings())
    try:
        assert own.take(ENCODERS) is ENCODERS.preprocessor
        isolated = apart.take(ENCODERS)
        assert isinstance(isolated, IsolatedPreprocessor)
        np.testing.assert_array_equal(isolated(JPEG), ENCODERS.preprocessor(JPEG))
    finally:
        own.stop()
        apart.stop()


@pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.nvimgcodec") is None,
    reason="nvImageCodec is missing, which has wheels for Linux alone",
)
def test_jpegs_by_nvimagecodec_within_the_same_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    class OnTheCpu(NvJpeg):
        def __call__(self, data: bytes, header: object) -> object:  # type: ignore[override]
            decoded.append(data)
            return super().__call__(data, header)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "NvJpeg", partial(OnTheCpu, on_gpu=False))
    on_a_gpu = Decoding(settings(device="cuda", decode_isolation="none", jpeg_decoder="nvjpeg"))
    decoded.clear()  # it tried one
    try:
        preprocess = on_a_gpu.take(ENCODERS)
        np.testing.assert_array_equal(preprocess(JPEG), ENCODERS.preprocessor(JPEG))
        assert decoded == [JPEG]
        with pytest.raises(TooManyPixels):
            preprocess(encode(photo(400, 300), "JPEG"))
        assert decoded == [JPEG]
        on_a_gpu.give_back(ENCODERS)
    finally:
        on_a_gpu.stop()
