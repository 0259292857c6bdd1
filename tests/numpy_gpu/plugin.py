"""The plugin of pytest that puts the GPUs made of numpy in their places, before any test is imported."""

import sys

from tests.numpy_gpu import cupy, faiss

sys.modules["cupy"] = cupy.module()
faiss.install()

from tests.numpy_gpu import jpegs, sessions  # what they replace looks for CuPy and FAISS

sessions.install()
jpegs.install()
