"""Runs that fail for want of memory: told by words, and once for real."""

import subprocess
import sys
from pathlib import Path

import pytest

from clipsearch.encoders.runtime import is_out_of_memory

BUNDLE = Path(__file__).parents[3] / "demo/clipsearch_demo/model/bundle"


@pytest.mark.parametrize(
    "text",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv. std::bad_alloc",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad allocation",
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 1073741824",
        "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
    ],
)
def test_these_are_out_of_memory(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))


@pytest.mark.parametrize(
    "text", ["Got invalid dimensions for input: pixels", "CUDA failure 700: an illegal memory access"]
)
def test_these_are_not(text: str) -> None:
    assert not is_out_of_memory(RuntimeError(text))


def test_a_memory_error_of_python_is() -> None:
    assert is_out_of_memory(MemoryError())


STARVED = f"""
import resource, numpy as np
from pathlib import Path
from clipsearch.encoders.manifest import load_bundle
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.encoders.towers import OnnxImageEncoder
from clipsearch.errors import OutOfMemory

encoder = OnnxImageEncoder(load_bundle(Path({str(BUNDLE)!r})), RuntimeOptions("cpu", threads=1))
size = encoder.image_size
few = [np.full((size, size, 3), 9, np.uint8)] * 2
many = [few[0]] * 4096
before = encoder.encode(few)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 4096 * few[0].nbytes, resource.RLIM_INFINITY))
try:
    encoder.encode(many)
except OutOfMemory as error:
    print("out of memory:", error)
assert np.array_equal(encoder.encode(few), before)
print("goes on")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_an_encoder_that_really_finds_no_memory_says_so_and_goes_on() -> None:
    ended = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout.splitlines() == ["out of memory: the encoder found no memory for a batch of 4096", "goes on"], (
        ended.stderr
    )
