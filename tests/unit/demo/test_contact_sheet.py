"""The contact sheet shows each hit's picture, and needs no fonts of the system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsearch_demo.contact_sheet import SheetHit, SheetRow, draw_contact_sheet


def _picture(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.new("RGB", (300, 200), colour).save(path)
    return path


def _has_colour(sheet: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(np.asarray(sheet, dtype=int) - colour).max(axis=2) <= 2).sum() > 5000)


def test_queries_and_hits_are_on_the_sheet(tmp_path: Path) -> None:
    green = _picture(tmp_path / "green.png", (10, 200, 30))
    violet = _picture(tmp_path / "violet.png", (120, 20, 220))
    hits = [SheetHit(green, "A green thing with a very long title that has to be cut somewhere, surely", 0.9)] * 3
    rows = [SheetRow(hits, text="something green"), SheetRow(hits[:1], picture=violet, text="Violet")]
    target = tmp_path / "sheet.png"
    draw_contact_sheet(rows, target)
    with Image.open(target) as sheet:
        assert sheet.format == "PNG"
        loaded = sheet.convert("RGB")
    assert _has_colour(loaded, (10, 200, 30))
    assert _has_colour(loaded, (120, 20, 220))
    shorter = tmp_path / "one.png"
    draw_contact_sheet(rows[:1], shorter)
    with Image.open(shorter) as sheet:
        assert sheet.width == loaded.width
        assert sheet.height < loaded.height


def test_a_sheet_without_queries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one query"):
        draw_contact_sheet([], tmp_path / "empty.png")
