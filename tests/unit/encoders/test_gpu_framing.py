"""Pictures framed on a GPU, to the last level as Pillow does: on one made of numpy, and by the kernel's own code.

The kernel is one function in C++ with a thread for each pixel, so a compiler for the CPU makes it run here as it is.
"""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipsearch.encoders import gpu_framing
from clipsearch.encoders.framing import Frame, Size, frame_of, turned
from clipsearch.encoders.gpu_framing import GpuFramer
from clipsearch.ports import Pixels
from tests.numpy_gpu import cupy as numpy_gpu
from tests.numpy_gpu.arrays import DeviceArray
from tests.unit.encoders.helpers import photo, preprocess_rule

CODE = Path(gpu_framing.__file__).with_name("resample.cu")
AROUND = """
#include <algorithm>
using std::max; using std::min;
#define __global__ static
struct Place { int x; };
static Place blockIdx, blockDim, threadIdx;
CODE
extern "C" void launch(int blocks, int threads, const unsigned char* source, long long along, long long across,
                       const int* taps, int most, int length, int lines,
                       unsigned char* result, long long result_along, long long result_across) {
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
            resample(source, along, across, taps, most, length, lines, result, result_along, result_across);
}
"""
_POINTER, _STEP = ctypes.c_uint64, ctypes.c_int64
ARGUMENTS = (_POINTER, _STEP, _STEP, _POINTER, *[ctypes.c_int] * 3, _POINTER, _STEP, _STEP)

Kernel = Callable[..., None]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """The kernel's own code, a thread after the other."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no compiler of C++ is at hand")
    directory = tmp_path_factory.mktemp("kernel")
    code = CODE.read_text(encoding="utf-8").replace('extern "C" ', "")
    (directory / "kernel.cpp").write_text(AROUND.replace("CODE", code), encoding="utf-8")
    library = directory / "kernel.so"
    options = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", str(library), str(directory / "kernel.cpp")], check=True)
    launch = ctypes.CDLL(str(library)).launch
    launch.argtypes = (ctypes.c_int, ctypes.c_int, *ARGUMENTS)
    launch.restype = None

    def kernel(grid: tuple[int], block: tuple[int], given: tuple[Any, ...]) -> None:
        launch(grid[0], block[0], *(one.data.ptr if isinstance(one, DeviceArray) else int(one) for one in given))

    return kernel


@pytest.fixture(params=["numpy", "compiled"])
def framer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> GpuFramer:
    """On a GPU of numpy, by the kernel's stand-in there and by its own code."""
    gpu = numpy_gpu.module()
    module = gpu.RawModule(CODE.read_text(encoding="utf-8"))
    kernel = module.get_function("resample") if request.param == "numpy" else request.getfixturevalue("compiled")
    monkeypatch.setattr(gpu_framing, "import_cupy", lambda: gpu)
    monkeypatch.setattr(gpu_framing, "_kernel", lambda: kernel)
    return GpuFramer(gpu.cuda.Stream(non_blocking=True))


class OnGpu:
    """Pixels with an interface of CUDA's, and rows that are ``apart`` bytes more than they hold."""

    def __init__(self, picture: Image.Image, apart: int = 0) -> None:
        pixels = np.asarray(picture)
        height, width, _ = self._shape = pixels.shape
        self._rows = np.full((height, width * 3 + apart), 0x55, dtype=np.uint8)
        self._rows[:, : width * 3] = pixels.reshape(height, -1)
        self._strides = (self._rows.strides[0], 3, 1) if apart else None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        place = self._rows.ctypes.data, False
        return {"shape": self._shape, "strides": self._strides, "typestr": "|u1", "data": place}


def by_pillow(picture: Image.Image, frame: Frame) -> Pixels:
    resized = turned(picture, frame.orientation).resize(frame.resized, frame.resample)
    return np.asarray(resized.crop((frame.left, frame.top, frame.left + frame.kept[0], frame.top + frame.kept[1])))


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (40, 30), (17, 500), (500, 17), (1, 90), (90, 1)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_pictures_are_framed_as_by_pillow(framer: GpuFramer, size: Size, orientation: int) -> None:
    picture = photo(*size)
    frame = frame_of(preprocess_rule(64), size, orientation)
    np.testing.assert_array_equal(framer(OnGpu(picture), frame), by_pillow(picture, frame))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("apart", [0, 5])
def test_every_orientation_and_any_rows(framer: GpuFramer, orientation: int, apart: int) -> None:
    picture = photo(120, 90)
    frame = frame_of(preprocess_rule(48), picture.size, orientation)
    np.testing.assert_array_equal(framer(OnGpu(picture, apart), frame), by_pillow(picture, frame))


@pytest.mark.parametrize("resample", [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS])
@pytest.mark.parametrize("resized", [(64, 48), (333, 201), (50, 400), (400, 20)])
def test_every_filter_at_any_scale(framer: GpuFramer, resample: Image.Resampling, resized: Size) -> None:
    picture = photo(160, 120)
    frame = Frame(1, resized, 0, 0, resized, resample)
    np.testing.assert_array_equal(framer(OnGpu(picture), frame), by_pillow(picture, frame))


def test_hard_edges_are_clipped_between_the_directions_as_by_pillow(framer: GpuFramer) -> None:
    levels = np.random.default_rng(0).choice([0, 255], (150, 210, 3)).astype(np.uint8)
    picture = Image.fromarray(levels)
    for resized in ((70, 50), (300, 400), (200, 20)):
        frame = Frame(1, resized, 0, 0, resized, Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(framer(OnGpu(picture), frame), by_pillow(picture, frame))


def test_what_is_smaller_than_the_crop_is_padded_with_black(framer: GpuFramer) -> None:
    picture = photo(50, 30)
    rule = preprocess_rule(64, do_resize=False)
    frame = frame_of(rule, picture.size)
    pixels = framer(OnGpu(picture), frame)
    np.testing.assert_array_equal(pixels, by_pillow(picture, frame))
    assert pixels[0].max() == 0


def test_only_what_is_kept_is_computed(framer: GpuFramer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of 1 x 200,000 is resized to 64 x 12,800,000 by its rule, of which 64 x 64 are kept."""
    made: list[tuple[int, ...]] = []
    empty = framer._cupy.empty
    monkeypatch.setattr(framer._cupy, "empty", lambda shape, dtype: made.append(shape) or empty(shape, dtype))
    picture = photo(1, 200_000)
    pixels = framer(OnGpu(picture), frame_of(preprocess_rule(64), picture.size))
    assert pixels.shape == (64, 64, 3)
    assert max(np.prod(shape) for shape in made) <= 64 * 64 * 3


def test_weights_of_one_size_go_up_once(framer: GpuFramer, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[Any] = []
    upload = framer._cupy.asarray
    monkeypatch.setattr(framer._cupy, "asarray", lambda values: uploads.append(values) or upload(values))
    frame = frame_of(preprocess_rule(32), (90, 70))
    first, second = (framer(OnGpu(photo(90, 70)), frame) for _ in range(2))
    assert len(uploads) == 2
    np.testing.assert_array_equal(first, second)


def test_what_comes_down_is_nobody_elses(framer: GpuFramer) -> None:
    pictures = photo(90, 70), photo(91, 70)
    frames = [frame_of(preprocess_rule(32), picture.size) for picture in pictures]
    first = framer(OnGpu(pictures[0]), frames[0])
    framer(OnGpu(pictures[1]), frames[1])
    np.testing.assert_array_equal(first, by_pillow(pictures[0], frames[0]))
