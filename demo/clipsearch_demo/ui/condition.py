"""Filter expressions from what a visitor ticked.

Values are strangers' texts and quoted here, and nowhere else. Fields are named as the server's facets name them, which
is as filters write them: ``brand``, ``size.eu``, ``"care label".wash``.
"""

import json
from collections.abc import Iterable

Value = str | bool | int | float


def any_of(field: str, values: Iterable[Value]) -> str:
    """Return the condition that ``field`` is, or as a list holds, one of ``values``; empty where there are none."""
    parts = [_one(field, value) for value in values]
    return f"({' OR '.join(parts)})" if len(parts) > 1 else "".join(parts)


def between(field: str, low: float | None, high: float | None) -> str:
    """Return the condition that a number is at least ``low`` and at most ``high``; None leaves an end open."""
    ends = ((">=", low), ("<=", high))
    return all_of(f"{field} {sign} {_literal(end)}" for sign, end in ends if end is not None)


def all_of(conditions: Iterable[str]) -> str:
    """Return the condition that all of them are true, the empty ones left out."""
    return " AND ".join(condition for condition in conditions if condition)


def _one(field: str, value: Value) -> str:
    # `:` is true of the very text or number and of a list that holds it; true and false are compared with `=`.
    sign = " = " if isinstance(value, bool) else ":"
    return f"{field}{sign}{_literal(value)}"


def _literal(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
