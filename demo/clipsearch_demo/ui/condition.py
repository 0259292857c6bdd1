"""Filter expressions from what a visitor ticked. Names and values are quoted here and nowhere else."""

import json
import re
from collections.abc import Iterable

Value = str | bool | int | float

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORDS = {"and", "or", "not", "in", "true", "false", "null"}


def any_of(field: str, values: Iterable[Value]) -> str:
    """Return the condition that ``field`` is, or as a list holds, one of ``values``; empty where there are none."""
    return _joined(" OR ", [_one(field, value) for value in values])


def between(field: str, low: float | None, high: float | None) -> str:
    """Return the condition that a number is at least ``low`` and at most ``high``; None leaves an end open."""
    ends = (("<=", high), (">=", low))
    parts = [f"{quoted_path(field)} {sign} {_literal(end)}" for sign, end in reversed(ends) if end is not None]
    return _joined(" AND ", parts)


def all_of(conditions: Iterable[str]) -> str:
    """Return the condition that all of them are true, the empty ones left out."""
    return " AND ".join(condition for condition in conditions if condition)


def quoted_path(field: str) -> str:
    """Return a metadata field as a filter names it; steps into objects are separated by dots and quoted where needed.

    Raises ValueError for a name that no filter can ask for.
    """
    return ".".join(step if step.startswith('"') else _name(step) for step in _steps(field))


def _steps(field: str) -> list[str]:
    # A step that is quoted already, as the server writes the names of fields, may hold dots.
    return re.findall(r'"[^"]*"|[^."]+', field) or [""]


def _name(name: str) -> str:
    if _PLAIN_NAME.fullmatch(name) and name.lower() not in _KEYWORDS:
        return name
    if not name or re.search(r'["\\\x00-\x1f\x7f]', name):
        raise ValueError(f"no filter can ask for the field {name!r}")
    return f'"{name}"'


def _one(field: str, value: Value) -> str:
    # `:` is true of the very text or number and of a list that holds it; true and false are compared with `=`.
    sign = " = " if isinstance(value, bool) else ":"
    return f"{quoted_path(field)}{sign}{_literal(value)}"


def _literal(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _joined(word: str, parts: list[str]) -> str:
    return f"({word.join(parts)})" if len(parts) > 1 else "".join(parts)
