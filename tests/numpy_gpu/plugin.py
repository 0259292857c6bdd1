"""The plugin of pytest that puts the GPUs made of numpy in their places, before any test is imported."""

import sys

from tests.numpy_gpu import cupy, faiss

sys.modules["cupy"] = cupy.module()
faiss.install()

from clipsearch.encoders.nvjpeg import NvJpeg  # which looks for CuPy
from tests.numpy_gpu import sessions  # and this for FAISS as well

sessions.install()
# nvImageCodec has a decoder for the CPU.
NvJpeg._on_a_gpu = NvJpeg._on_the_cpu  # type: ignore[method-assign]
