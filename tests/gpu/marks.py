"""Who of the tests waits for a card."""

import pytest

from clipsearch.cuda import why_no_gpu
from clipsearch.encoders.runtime import CUDA, onnxruntime
from clipsearch.index.gpu import gpu_count

on_a_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        CUDA not in onnxruntime().get_available_providers() or why_no_gpu() is not None or gpu_count() == 0,
        reason="ONNX Runtime or FAISS has no GPU to use (a CUDA device and the gpu extra are needed)",
    ),
]
