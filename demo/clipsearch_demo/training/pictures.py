"""Training pictures, drawn once at the model's size into a file that is then read from memory.

Drawing costs 15 ms and a training step sees thousands of pictures, so they are kept as uint8 in one `.npy` file. The
pictures are shrunk by the very rule of the saved processor (bicubic with antialiasing), so what training sees is what
serving computes.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from clipsearch_demo.catalogue.render import render
from clipsearch_demo.catalogue.specs import ProductSpec

_CHUNK = 32


def shrink(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """A square picture at the model's size; uint8 (size, size, 3)."""
    return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC), dtype=np.uint8)


def _draw_chunk(task: tuple[int, list[ProductSpec], int]) -> tuple[int, NDArray[np.uint8]]:
    start, specs, size = task
    return start, np.stack([shrink(render(spec), size) for spec in specs])


def draw_pictures(specs: list[ProductSpec], size: int, path: Path) -> NDArray[np.uint8]:
    """Pictures of `specs`, uint8 (n, size, size, 3), memory-mapped from `path`; drawn first if they aren't there."""
    shape = (len(specs), size, size, 3)
    if path.exists():
        pictures: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        if pictures.shape != shape:
            raise ValueError(f"{path} holds pictures of shape {pictures.shape}, not {shape}; remove it")
        return pictures
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    drawn = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    tasks = [(start, specs[start : start + _CHUNK], size) for start in range(0, len(specs), _CHUNK)]
    workers = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        finished = pool.imap_unordered(_draw_chunk, tasks)
        for start, chunk in track(finished, description="drawing training pictures", total=len(tasks)):
            drawn[start : start + len(chunk)] = chunk
    drawn.flush()
    partial.replace(path)
    loaded: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return loaded
