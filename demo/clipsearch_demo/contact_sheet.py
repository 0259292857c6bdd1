"""A picture of search results: one row per query, the query at the left, its best hits beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

_TILE = 168
_GAP = 14
_MARGIN = 28
_CAPTION = 56
_QUERY_WIDTH = 210
_PAPER, _CARD, _INK, _ACCENT = "#f3f1ee", "#ffffff", "#22242a", "#2e6fd8"


@dataclass(frozen=True)
class SheetHit:
    """One hit as the sheet shows it; `score` is the cosine."""

    image: Path
    title: str
    score: float


@dataclass(frozen=True)
class SheetRow:
    """One query and its hits, best first; a text query, a picture query, or a picture with a text beside it."""

    hits: Sequence[SheetHit]
    text: str = ""
    picture: Path | None = None


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _wrapped(text: str, font: _Font, width: int, lines: int) -> str:
    """`text` broken into at most `lines` lines of `width` pixels, the last cut with an ellipsis if need be."""
    rows: list[str] = [""]
    for word in text.split():
        candidate = f"{rows[-1]} {word}".strip()
        if font.getlength(candidate) <= width or not rows[-1]:
            rows[-1] = candidate
        else:
            rows.append(word)
    if len(rows) > lines:
        rows = rows[:lines]
        while rows[-1] and font.getlength(rows[-1] + "…") > width:
            rows[-1] = rows[-1][:-1]
        rows[-1] += "…"
    return "\n".join(rows)


def _tile(path: Path, edge: int) -> tuple[Image.Image, Image.Image]:
    """A picture fitted to a square of `edge` pixels, and the mask that rounds its corners."""
    with Image.open(path) as picture:
        fitted = ImageOps.fit(picture.convert("RGB"), (edge, edge), Image.Resampling.LANCZOS)
    mask = Image.new("L", (edge * 2, edge * 2), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, edge * 2 - 1, edge * 2 - 1), 20, fill=255)
    return fitted, mask.resize((edge, edge), Image.Resampling.LANCZOS)


def _draw_query(sheet: Image.Image, row: SheetRow, top: int, fonts: tuple[_Font, _Font]) -> None:
    draw = ImageDraw.Draw(sheet)
    label, body = fonts
    draw.text((_MARGIN, top), "PICTURE" if row.picture else "TEXT", font=label, fill=_ACCENT)
    below = top + 22
    if row.picture:
        picture, mask = _tile(row.picture, _TILE - 30)
        sheet.paste(picture, (_MARGIN, below), mask)
        below += _TILE - 22
    if row.text:
        text = _wrapped(row.text if row.picture else f"“{row.text}”", body, _QUERY_WIDTH - 24, 6)
        draw.multiline_text((_MARGIN, below), text, font=label if row.picture else body, fill=_INK, spacing=5)


def _draw_hit(sheet: Image.Image, hit: SheetHit, left: int, top: int, font: _Font) -> None:
    draw = ImageDraw.Draw(sheet)
    card = (left - 5, top - 5, left + _TILE + 4, top + _TILE + _CAPTION)
    draw.rounded_rectangle(card, 12, fill=_CARD, outline="#e2dfda")
    picture, mask = _tile(hit.image, _TILE)
    sheet.paste(picture, (left, top), mask)
    draw.multiline_text((left + 3, top + _TILE + 6), _wrapped(hit.title, font, _TILE - 6, 2), font=font, fill=_INK)
    score = f"{hit.score:.3f}"
    box = draw.textbbox((0, 0), score, font=font)
    width = box[2] - box[0]
    badge = (left + _TILE - width - 18, top + 7, left + _TILE - 7, top + 27)
    draw.rounded_rectangle(badge, 10, fill="#22242acc")
    draw.text((badge[0] + 6, badge[1] + 3), score, font=font, fill="#ffffff")


def draw_contact_sheet(rows: Sequence[SheetRow], path: Path, title: str = "clipsearch") -> None:
    """Write a PNG that shows every query with its hits; `path`'s folder must exist.

    Pillow's own font is used, so it looks the same on a machine without fonts. Raises ValueError without rows.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one query")
    columns = max(len(row.hits) for row in rows)
    row_height = _TILE + _CAPTION + _GAP + 10
    width = 2 * _MARGIN + _QUERY_WIDTH + columns * (_TILE + _GAP)
    height = 2 * _MARGIN + 48 + len(rows) * row_height
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 6), title, font=ImageFont.load_default(26), fill=_INK)
    draw.line((_MARGIN, _MARGIN + 34, width - _MARGIN, _MARGIN + 34), fill="#d9d5cf", width=2)
    fonts = ImageFont.load_default(13), ImageFont.load_default(18)
    for index, row in enumerate(rows):
        top = _MARGIN + 52 + index * row_height
        _draw_query(sheet, row, top, fonts)
        for column, hit in enumerate(row.hits):
            _draw_hit(sheet, hit, _MARGIN + _QUERY_WIDTH + column * (_TILE + _GAP), top, fonts[0])
    sheet.save(path, "PNG")
