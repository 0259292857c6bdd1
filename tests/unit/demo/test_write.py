"""The catalogue on disk: complete, repeatable, finished after an interruption, redrawn when it is another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from clipsearch_demo.catalogue import wording
from clipsearch_demo.catalogue import write as write_module
from clipsearch_demo.catalogue.specs import ProductSpec, generate_specs
from clipsearch_demo.catalogue.write import write_catalogue

_COUNT, _SEED = 12, 5


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    assert write_catalogue(folder, _COUNT, _SEED, processes=1, progress=False)
    return folder


def test_two_processes_write_the_same_bytes_as_one(catalogue: Path, tmp_path: Path) -> None:
    assert write_catalogue(tmp_path, _COUNT, _SEED, processes=2, progress=False)
    assert _bytes(tmp_path) == _bytes(catalogue)


def test_metadata_agrees_with_the_items(catalogue: Path) -> None:
    lines = [json.loads(line) for line in (catalogue / "metadata.jsonl").read_text().splitlines()]
    for line, spec in zip(lines, generate_specs(_COUNT, _SEED), strict=True):
        assert line["id"] == spec.id
        assert line["category"] == spec.kind
        assert (line["colour"], line["pattern"], line["second_colour"]) == spec_colours(spec)
        assert line["title"] == wording.title(spec)
        assert line["price"] == spec.price > 0
        assert all(line[name] == value for name, value in spec.attributes)
        with Image.open(catalogue / line["image"]) as picture:
            assert picture.format == "JPEG"
            assert min(picture.size) >= 224
    assert len(list((catalogue / "images").iterdir())) == _COUNT


def spec_colours(spec: ProductSpec) -> tuple[str, str, str]:
    return spec.colour, spec.pattern, spec.second_colour


def test_a_complete_catalogue_is_left_alone(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(task: tuple[ProductSpec, str]) -> None:
        raise AssertionError(f"drew {task[1]} again")

    monkeypatch.setattr(write_module, "_draw", refuse)
    assert not write_catalogue(catalogue, _COUNT, _SEED, processes=1, progress=False)


def test_an_interrupted_catalogue_is_finished_without_drawing_twice(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    draw = write_module._draw

    def draw_five(task: tuple[ProductSpec, str]) -> None:
        if len(drawn) == 5:
            raise KeyboardInterrupt
        draw(task)
        drawn.append(task[1])

    monkeypatch.setattr(write_module, "_draw", draw_five)
    with pytest.raises(KeyboardInterrupt):
        write_catalogue(tmp_path, _COUNT, _SEED, processes=1, progress=False)
    assert not (tmp_path / "catalogue.json").exists()
    assert not (tmp_path / "metadata.jsonl").exists()

    def draw_rest(task: tuple[ProductSpec, str]) -> None:
        assert task[1] not in drawn
        draw(task)
        drawn.append(task[1])

    monkeypatch.setattr(write_module, "_draw", draw_rest)
    assert write_catalogue(tmp_path, _COUNT, _SEED, processes=1, progress=False)
    assert len(drawn) == _COUNT
    assert _bytes(tmp_path) == _bytes(catalogue)


def test_another_catalogue_replaces_the_old_pictures(tmp_path: Path) -> None:
    write_catalogue(tmp_path, 4, seed=1, processes=1, progress=False)
    before = _bytes(tmp_path)
    assert write_catalogue(tmp_path, 3, seed=2, processes=1, progress=False)
    after = _bytes(tmp_path)
    assert len([name for name in after if name.startswith("images/")]) == 3
    assert json.loads(after["catalogue.json"])["seed"] == 2
    assert all(before.get(name) != content for name, content in after.items() if name != ".drawing.json")
