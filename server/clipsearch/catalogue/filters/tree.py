"""What a filter means: its syntax tree, its size, and the one way to write it."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

Scalar: TypeAlias = str | int | float | bool | None
OrderOperator: TypeAlias = Literal["<", "<=", ">", ">="]

RESERVED = frozenset({"and", "or", "not", "in", "true", "false", "null"})
"""Words that name a field only in quotes, the first four however they are capitalised."""

_BARE_NAME = re.compile(r"[^\W\d]\w*")


@lru_cache(1024)
def can_name(name: str) -> bool:
    """Return whether a filter can ask for a field of this name; SQLite's JSON paths cannot, for all others."""
    return bool(name) and not any(char in '"\\' or char < " " for char in name)


@dataclass(frozen=True, slots=True)
class Field:
    """The path of a metadata field, from the outside in: one to many names, none of them empty."""

    segments: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(
            name if _BARE_NAME.fullmatch(name) and name.lower() not in RESERVED else write_text(name)
            for name in self.segments
        )


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field equals one of the values: ``=`` for one of them, ``IN`` for more."""

    field: Field
    values: tuple[Scalar, ...]

    def __str__(self) -> str:
        written = [write_scalar(value) for value in self.values]
        return f"{self.field} = {written[0]}" if len(written) == 1 else f"{self.field} IN ({', '.join(written)})"


@dataclass(frozen=True, slots=True)
class Ordered:
    """The field holds the value's type and stands in this order to it."""

    field: Field
    operator: OrderOperator
    value: str | int | float

    def __str__(self) -> str:
        return f"{self.field} {self.operator} {write_scalar(self.value)}"


@dataclass(frozen=True, slots=True)
class Has:
    """The field is a list with this element, an object with this key, or equals this value."""

    field: Field
    value: Scalar

    def __str__(self) -> str:
        return f"{self.field}:{write_scalar(self.value)}"


@dataclass(frozen=True, slots=True)
class Present:
    """The field is there, whatever it holds."""

    field: Field

    def __str__(self) -> str:
        return f"{self.field}:*"


@dataclass(frozen=True, slots=True)
class Not:
    """The operand is false."""

    operand: "Node"

    def __str__(self) -> str:
        return f"NOT {_grouped(self.operand)}"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every operand is true."""

    operands: tuple["Node", ...]

    def __str__(self) -> str:
        return " AND ".join(map(_grouped, self.operands))


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one operand is true."""

    operands: tuple["Node", ...]

    def __str__(self) -> str:
        return " OR ".join(map(_grouped, self.operands))


Term: TypeAlias = OneOf | Ordered | Has | Present
Node: TypeAlias = Term | Not | AllOf | AnyOf


def write_text(text: str) -> str:
    """Return a text as the language and JSON write it: in double quotes, with everything but ASCII controls as it is.

    Metadata is stored by the same rule (``items.metadata_json``), which the compiled SQL relies on.
    """
    return json.dumps(text, ensure_ascii=False)


def write_scalar(value: Scalar) -> str:
    """Return a value as the language and JSON write it."""
    return json.dumps(value, ensure_ascii=False)


def _grouped(node: Node) -> str:
    return f"({node})" if isinstance(node, AllOf | AnyOf) else str(node)


def terms_with_depth(node: Node) -> Iterator[tuple[Term, int]]:
    """Yield the terms and how many operators stand above each; needs no stack, however deep the tree."""
    waiting = [(node, 0)]
    while waiting:
        some, depth = waiting.pop()
        match some:
            case Not(operand):
                waiting.append((operand, depth + 1))
            case AllOf(operands) | AnyOf(operands):
                waiting.extend((operand, depth + 1) for operand in operands)
            case _:
                yield some, depth


def normal(node: Node) -> Node:
    """Return a tree of the same meaning, in which order, repetition and grouping no longer tell filters apart.

    Recursive: limit the depth first.
    """
    match node:
        case OneOf(field, values):
            return _one_of(field, values)
        case Not(operand):
            inner = normal(operand)
            return inner.operand if isinstance(inner, Not) else Not(inner)
        case AllOf(operands):
            return _joined(AllOf, map(normal, operands))
        case AnyOf(operands):
            return _joined(AnyOf, _merged(map(normal, operands)))
        case _:
            return node


def _one_of(field: Field, values: Iterable[Scalar]) -> OneOf:
    # By what is written, for in Python True equals 1.
    unique = {write_scalar(value): value for value in values}
    return OneOf(field, tuple(unique[written] for written in sorted(unique)))


def _merged(operands: Iterable[Node]) -> Iterator[Node]:
    """Turn equalities of one field into one list of its values, opening alternatives inside alternatives."""
    values: dict[Field, list[Scalar]] = defaultdict(list)
    waiting = list(operands)
    while waiting:
        operand = waiting.pop()
        if isinstance(operand, AnyOf):
            waiting.extend(operand.operands)
        elif isinstance(operand, OneOf):
            values[operand.field].extend(operand.values)
        else:
            yield operand
    for field, alternatives in values.items():
        yield _one_of(field, alternatives)


def _joined(kind: type[AllOf] | type[AnyOf], operands: Iterable[Node]) -> Node:
    unique: dict[str, Node] = {}
    for operand in operands:
        inner = operand.operands if isinstance(operand, kind) else (operand,)
        unique.update((str(one), one) for one in inner)
    return kind(tuple(unique[text] for text in sorted(unique))) if len(unique) > 1 else next(iter(unique.values()))
