"""Put a catalogue on disk: `images/<id>.jpg`, `metadata.jsonl`, and last of all `catalogue.json`.

`catalogue.json` says which catalogue is complete here; without it, a call draws what is missing and finishes. Files
appear under their names only when whole, so what an interrupted call left behind can be trusted.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterable
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clipsearch_demo.captions import facts
from clipsearch_demo.catalogue import wording
from clipsearch_demo.catalogue.render import render
from clipsearch_demo.catalogue.specs import ProductSpec, generate_specs

_DRAWING_VERSION = 1
"""Raise it when pictures or texts change, so that directories written before are drawn anew."""

_JPEG_QUALITY = 90


def _whole(path: Path, content: bytes) -> None:
    """Write a file that is there either completely or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


def _draw(task: tuple[ProductSpec, str]) -> None:
    spec, name = task
    path = Path(name)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    render(spec).save(partial, "JPEG", quality=_JPEG_QUALITY)
    partial.replace(path)


def metadata(spec: ProductSpec) -> dict[str, object]:
    """One item's line of `metadata.jsonl`."""
    known: dict[str, object] = dict(facts(spec))
    category = known.pop("kind")
    return {
        "id": spec.id,
        "title": wording.title(spec),
        "description": wording.description(spec),
        "category": category,
        **known,
        "price": spec.price,
        "image": f"images/{spec.id}.jpg",
    }


def fingerprint(specs: Iterable[ProductSpec]) -> str:
    """What the catalogue is made from, as hex sha256: any other item, text or version of the drawings changes it."""
    digest = hashlib.sha256(f"drawings {_DRAWING_VERSION}".encode())
    for spec in specs:
        digest.update(repr(spec).encode())
    return digest.hexdigest()


def _complete(out_dir: Path, expected: dict[str, object]) -> bool | None:
    """True if this very catalogue is complete in `out_dir`, False if another is, None if none is."""
    try:
        return bool(json.loads((out_dir / "catalogue.json").read_text()) == expected)
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def write_catalogue(out_dir: Path, count: int = 6000, seed: int = 1, processes: int = 0, progress: bool = True) -> bool:
    """Draw `count` items into `out_dir` with `processes` workers (0: one per available core).

    Returns True if it drew anything, False if this catalogue was already complete. The bytes written depend on
    `count` and `seed` only.
    """
    specs = generate_specs(count, seed)
    expected: dict[str, object] = {"count": count, "seed": seed, "fingerprint": fingerprint(specs)}
    started = out_dir / ".drawing.json"
    complete = _complete(out_dir, expected)
    if complete:
        return False
    images = out_dir / "images"
    images.mkdir(parents=True, exist_ok=True)
    same = started.exists() and started.read_text() == json.dumps(expected)
    if not same:
        # Pictures of another catalogue can bear the same names, so none of them may stay.
        (out_dir / "catalogue.json").unlink(missing_ok=True)
        for old in images.iterdir():
            old.unlink()
        _whole(started, json.dumps(expected).encode())
    _draw_all([(spec, str(images / f"{spec.id}.jpg")) for spec in specs], processes, progress)
    lines = "".join(json.dumps(metadata(spec), ensure_ascii=False) + "\n" for spec in specs)
    _whole(out_dir / "metadata.jsonl", lines.encode())
    _whole(out_dir / "catalogue.json", json.dumps(expected).encode())
    return True


def _draw_all(tasks: list[tuple[ProductSpec, str]], processes: int, progress: bool) -> None:
    missing = [task for task in tasks if not Path(task[1]).exists()]
    workers = processes or len(os.sched_getaffinity(0))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not progress) as bar:
        step = bar.add_task("drawing the catalogue", total=len(tasks), completed=len(tasks) - len(missing))
        if workers == 1:
            for task in missing:
                _draw(task)
                bar.advance(step)
            return
        # Spawned, not forked: the caller may have threads (a server, a progress bar) that a fork would break.
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for _ in pool.imap_unordered(_draw, missing, chunksize=16):
                bar.advance(step)
