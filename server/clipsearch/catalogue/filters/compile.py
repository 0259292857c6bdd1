"""From a filter's tree to SQL over the column ``metadata``; nothing of the filter's text becomes part of the SQL.

Every condition is built to be 0 or 1 and never NULL, so that NOT, AND and OR are those of plain logic. What SQLite's
own comparisons would get wrong is guarded by the JSON type: across types it orders numbers before texts, and it reads
``true`` as 1 and a list as its text.

Texts, booleans and null are compared as the JSON they are stored as (``metadata -> path``), which says type and value
at once. That needs ``items.metadata_json`` to be the only writer: of two spellings of one text it always takes the
same. Then a row whose metadata does not contain the literal need not even be parsed, and most rows are done with after
a substring search.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from clipsearch.catalogue.filters.grammar import malformed, parse
from clipsearch.catalogue.filters.tree import (
    AllOf,
    AnyOf,
    Field,
    Has,
    Node,
    Not,
    OneOf,
    Ordered,
    Present,
    Scalar,
    Term,
    normal,
    terms_with_depth,
    write_scalar,
    write_text,
)
from clipsearch.errors import FilterTooComplex

MAX_BYTES = 8192
"""Longest filter in UTF-8."""

MAX_TERMS = 100
"""Most comparisons in one filter."""

MAX_DEPTH = 20
"""Most operators above a comparison; SQLite's parser has a stack of 100 symbols."""

MAX_LIST_VALUES = 500
"""Most values of one ``IN``."""

MAX_SEGMENTS = 16
"""Most names in the path of a field."""

SqlValue: TypeAlias = str | int

_CACHED = 1024
_NUMBER_TYPES = "IN ('integer', 'real')"


@dataclass(frozen=True, slots=True)
class CompiledFilter:
    """A condition on the column ``metadata`` of ``items``, for a WHERE clause.

    ``sql`` has one ``?`` for each of ``parameters`` and is 0 or 1 for every row. ``fields`` are the paths it looks at,
    as a filter writes them. ``text`` is the canonical form: filters that differ only in spelling, order or repetition
    have the same one, so it identifies the filter in caches. Short spellings grow: it may itself be over a limit.
    """

    sql: str
    parameters: tuple[SqlValue, ...]
    fields: frozenset[str]
    text: str


@lru_cache(_CACHED)
def compile_filter(text: str) -> CompiledFilter:
    """Return the SQL of a filter; equal filters get the same object while it is cached.

    Raises MalformedFilter, with the position of what is wrong, where the text does not follow the grammar (an empty one
    never does), and FilterTooComplex where it is longer, deeper or has more conditions than the limits above.
    """
    try:
        _check_limit("bytes", len(text.encode("utf-8")), MAX_BYTES)
    except UnicodeEncodeError as error:
        raise malformed("half of a surrogate pair is not a character", error.start) from None
    tree = parse(text)
    _check_size(tree)
    tree = normal(tree)
    return _compiled(str(tree), tree)


@lru_cache(_CACHED)
def field_path(text: str) -> tuple[str, ...]:
    """Return the names in a field's path, as a filter writes it; raises as ``compile_filter`` does."""
    # What a filter may say of any field at all, so that there is one grammar for fields.
    _check_limit("bytes", len(text.encode("utf-8", "surrogatepass")), MAX_BYTES)
    tree = parse(f"{text}:*")
    if not isinstance(tree, Present):
        raise malformed("this is more than a field", 0)
    _check_size(tree)
    return tree.field.segments


def _check_size(tree: Node) -> None:
    count = 0
    for term, depth in terms_with_depth(tree):
        count += 1
        _check_limit("levels of nesting", depth, MAX_DEPTH)
        _check_limit("names in a field's path", len(term.field.segments), MAX_SEGMENTS)
        if isinstance(term, OneOf):
            _check_limit("values in a list", len(term.values), MAX_LIST_VALUES)
    _check_limit("comparisons", count, MAX_TERMS)


def _check_limit(of_what: str, size: int, limit: int) -> None:
    if size > limit:
        raise FilterTooComplex(
            f"the filter has {size} {of_what}, the most is {limit}",
            field="filter",
            metadata={"limit": str(limit), "found": str(size)},
        )


@lru_cache(_CACHED)
def _compiled(text: str, tree: Node) -> CompiledFilter:
    fields = frozenset(str(term.field) for term, _ in terms_with_depth(tree))
    sql = _condition(tree)
    return CompiledFilter(sql.text, sql.parameters, fields, text)


@dataclass(frozen=True, slots=True)
class _Sql:
    text: str
    parameters: tuple[SqlValue, ...] = ()

    def __str__(self) -> str:
        return self.text


def _sql(template: str, *parts: "_Sql | SqlValue") -> _Sql:
    """Put each part at its ``@``: SQL as SQL, with its parameters, and values as parameters."""
    pieces = [part if isinstance(part, _Sql) else _Sql("?", (part,)) for part in parts]
    texts = template.split("@")
    text = texts[0] + "".join(piece.text + rest for piece, rest in zip(pieces, texts[1:], strict=True))
    return _Sql(text, tuple(value for piece in pieces for value in piece.parameters))


def _joined(separator: str, parts: list[_Sql]) -> _Sql:
    return _sql(separator.join("@" * len(parts)), *parts)


def _condition(node: Node) -> _Sql:
    match node:
        case AllOf(operands):
            return _sql("(@)", _joined(" AND ", [_condition(operand) for operand in operands]))
        case AnyOf(operands):
            return _sql("(@)", _joined(" OR ", [_condition(operand) for operand in operands]))
        case Not(operand):
            return _sql("(NOT @)", _condition(operand))
        case _:
            return _sql("(@)", _comparison(node))


def _comparison(term: Term) -> _Sql:
    match term:
        case OneOf(field, values):
            return _equals(field, values)
        case Ordered(field, operator, value):
            type_test = "= 'text'" if isinstance(value, str) else _NUMBER_TYPES
            return _typed(f"json_extract(metadata, @) {operator} @", _path(field), _parameter(value), type_test)
        case Has(field, value):
            return _has(field, value)
        case Present(field):
            return _sql("json_type(metadata, @) IS NOT NULL", _path(field))


def _equals(field: Field, values: tuple[Scalar, ...]) -> _Sql:
    """Numbers by value, whatever their spelling; all else by its JSON."""
    path = _path(field)
    numbers = [_parameter(value) for value in values if _is_number(value)]
    others = [write_scalar(value) for value in values if not _is_number(value)]
    alternatives = []
    if len(others) == 1:
        alternatives.append(_sql("(instr(metadata, @) AND (metadata -> @) IS @)", others[0], path, others[0]))
    elif others:
        alternatives.append(
            _sql("((metadata -> @) IN (@)) IS TRUE", path, _joined(", ", [_sql("@", json) for json in others]))
        )
    if numbers:
        alternatives.append(_typed("json_extract(metadata, @) IN (@)", path, _joined(", ", numbers), _NUMBER_TYPES))
    return _joined(" OR ", alternatives)


def _typed(comparison: str, path: str, right: _Sql, type_test: str) -> _Sql:
    # The comparison first: where it fails, which is the common case, the type need not be looked up.
    return _sql(f"(({comparison} AND json_type(metadata, @) {type_test}) IS TRUE)", path, right, path)


def _has(field: Field, value: Scalar) -> _Sql:
    path = _path(field)
    has_key = _sql("0")
    if isinstance(value, str):
        # Not by a path, as ``m.foo:*`` is: any text may be asked for here, also one that a path cannot name.
        has_key = _sql("EXISTS (SELECT 1 FROM json_each(metadata, @) AS e WHERE e.key = @)", path, value)
    found = _sql(
        "CASE json_type(metadata, @) "
        "WHEN 'array' THEN EXISTS (SELECT 1 FROM json_each(metadata, @) AS e WHERE @) "
        "WHEN 'object' THEN @ ELSE @ END",
        path,
        path,
        _is_element(value),
        has_key,
        _equals(field, (value,)),
    )
    return found if _is_number(value) else _sql("instr(metadata, @) AND @", write_scalar(value), found)


def _is_element(value: Scalar) -> _Sql:
    """The condition on a row ``e`` of json_each; its ``value`` is SQL's, so its ``type`` has to be asked."""
    if isinstance(value, str):
        return _sql("e.type = 'text' AND e.value = @", value)
    if value is None or isinstance(value, bool):
        return _sql("e.type = @", write_scalar(value))
    return _sql(f"e.type {_NUMBER_TYPES} AND e.value = @", _parameter(value))


def _path(field: Field) -> str:
    return json_path(field.segments)


def json_path(segments: tuple[str, ...]) -> str:
    """Return the path of a field as SQLite's JSON functions take it."""
    return "$" + "".join(f".{write_text(name)}" for name in segments)


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parameter(value: Scalar) -> _Sql:
    """A number or text to compare with what SQLite has read from JSON.

    What SQLite reads as a float it is given as JSON too: its reading is not in every version Python's to the last bit,
    nor its own CAST's, but so it is the same on both sides.
    """
    if isinstance(value, str):
        return _sql("@", value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return _sql("@", value)
    return _sql("json_extract(@, '$')", write_scalar(value))
