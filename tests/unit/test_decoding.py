"""What turns pictures into pixels, by the settings. Processes are tested in encoders/test_isolation.py."""

from functools import partial

import numpy as np
import pytest
from PIL.JpegImagePlugin import JpegImageFile

from clipsearch import decoding
from clipsearch.decoding import Decoding, image_limits
from clipsearch.encoders.framing import Frame
from clipsearch.encoders.isolation import IsolatedPreprocessor
from clipsearch.encoders.load import encoders_of, load_encoders
from clipsearch.encoders.manifest import load_bundle
from clipsearch.encoders.nvjpeg import NvJpeg
from clipsearch.encoders.preprocess import ImageLimits, PillowPreprocessor
from clipsearch.encoders.resize import resize_by_pillow
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.errors import TooManyPixels
from clipsearch.ports import Pixels
from clipsearch.settings import Settings
from tests.integration.support import SAMPLE_BUNDLE
from tests.unit.encoders.helpers import encode, needs_nvimagecodec, photo

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


@needs_nvimagecodec
def test_jpegs_by_nvimagecodec_within_the_same_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "NvJpeg", partial(NvJpeg, on_gpu=False))
    given = settings(device="cuda", decode_isolation="none", jpeg_decoder="nvjpeg")
    on_a_gpu = Decoding(given)
    decoded = []

    def counted(data: bytes, header: JpegImageFile, frame: Frame) -> Pixels | None:
        decoded.append(data)
        assert on_a_gpu.jpegs is not None
        return on_a_gpu.jpegs(data, header, frame)

    try:
        encoders = encoders_of(load_bundle(SAMPLE_BUNDLE), RuntimeOptions("cpu"), image_limits(given), counted)
        preprocess, manifest = on_a_gpu.take(encoders), encoders.manifest
        by_pillow = PillowPreprocessor(manifest.preprocess, manifest.image_size, resize=resize_by_pillow)
        np.testing.assert_array_equal(preprocess(JPEG), by_pillow(JPEG))
        with pytest.raises(TooManyPixels):
            preprocess(encode(photo(400, 300), "JPEG"))
        assert decoded == [JPEG]
        on_a_gpu.give_back(encoders)
    finally:
        on_a_gpu.stop()
