"""Reading a filter: the grammar, and what is said about a text that does not follow it.

LALR with a context-free lexer: linear time, no recursion, and every word becomes a token (at worst UNKNOWN), so that
whatever is wrong is found by the parser, which knows what could have stood there.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import cast

from lark import Lark, Token, Transformer, UnexpectedToken, v_args

from clipsearch.catalogue.filters.tree import (
    AllOf,
    AnyOf,
    Field,
    Has,
    Node,
    Not,
    OneOf,
    Ordered,
    OrderOperator,
    Present,
    Scalar,
    can_name,
)
from clipsearch.errors import MalformedFilter

_GRAMMAR = r"""
?start: condition
?condition: operand | all_of | any_of
all_of: operand (_AND? operand)+
any_of: operand (_OR operand)+
?operand: term | negation | _OPEN condition _CLOSE
negation: (_NOT | MINUS) operand
?term: field EQUALITY value               -> equality
     | field ORDER value                  -> ordered
     | field _IN _OPEN value (_COMMA value)* _CLOSE -> one_of
     | field _COLON value                 -> has
     | field _COLON _STAR                 -> present
field: segment (_DOT segment)*
?segment: NAME | STRING
value: STRING | NUMBER | MINUS NUMBER | TRUE | FALSE | NULL

_AND: "AND"
_OR: "OR"
_NOT: "NOT"
_IN: "IN"
TRUE: "true"
FALSE: "false"
NULL: "null"
_OPEN: "("
_CLOSE: ")"
_COMMA: ","
_DOT: "."
_COLON: ":"
_STAR: "*"
EQUALITY: "=" | "!="
ORDER: "<=" | ">=" | "<" | ">"
MINUS: /-(?=\S)/
NAME: /[^\W\d]\w*/
NUMBER: /[0-9][\w.+-]*/
STRING.1: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
UNFINISHED: /["'].*/s
UNKNOWN.-1: /./s
%ignore /[ \t\r\n]+/
"""

_JSON_NUMBER = re.compile(r"(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 400
_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))", re.DOTALL
)
_ESCAPED = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_MORE = frozenset({"_AND", "NAME", "STRING", "_NOT", "MINUS", "_OPEN"})
"""What goes on with AND after a condition."""

_EXPECTED: tuple[tuple[set[str], str], ...] = (
    ({"_AND", "_OR", "_CLOSE"}, "AND, OR or a closing parenthesis"),
    ({"_AND", "_CLOSE"}, "AND or a closing parenthesis"),
    ({"_OR", "_CLOSE"}, "OR or a closing parenthesis"),
    ({"_AND", "_OR"}, "AND, OR or the end of the filter"),
    ({"_AND"}, "AND or the end of the filter"),
    ({"_OR"}, "OR or the end of the filter"),
    ({"EQUALITY"}, "an operator (=, !=, <, <=, >, >=, : or IN)"),
    ({"_COMMA"}, "a comma or a closing parenthesis"),
    ({"NUMBER", "STRING", "_STAR"}, "a value (a text in quotes, a number, true, false or null) or *"),
    ({"NUMBER", "STRING"}, "a value (a text in quotes, a number, true, false or null)"),
    ({"NAME", "_OPEN"}, "a condition, such as price < 50"),
    ({"NAME"}, "a field name"),
    ({"NUMBER"}, "a number"),
    ({"_OPEN"}, "an opening parenthesis"),
    ({"_CLOSE"}, "a closing parenthesis"),
    (set(), "the end of the filter"),
)
"""What could have stood there, in words: the first line whose tokens are all acceptable."""


def parse(text: str) -> Node:
    """Return the tree of a filter as it is written; raises MalformedFilter with the position of what is wrong."""
    try:
        return cast(Node, _parser().parse(text))
    except UnexpectedToken as error:
        raise _unexpected(error, len(text)) from None


def malformed(message: str, position: int) -> MalformedFilter:
    """Return the error of a filter that is wrong at ``position``, in code points from 0."""
    return MalformedFilter(
        f"the filter is wrong at position {position}: {message}", field="filter", metadata={"position": str(position)}
    )


@dataclass(frozen=True, slots=True)
class _Value:
    value: Scalar
    position: int


@v_args(inline=True)
class _ToTree(Transformer[Token, object]):
    """Called by the parser for each rule it completes, with what the rule's parts gave."""

    def all_of(self, *operands: Node) -> Node:
        return AllOf(operands)

    def any_of(self, *operands: Node) -> Node:
        return AnyOf(operands)

    def negation(self, *parts: Node) -> Node:
        return Not(parts[-1])

    def equality(self, field: Field, operator: Token, value: _Value) -> Node:
        equal = OneOf(field, (value.value,))
        return equal if operator == "=" else Not(equal)

    def ordered(self, field: Field, operator: Token, value: _Value) -> Node:
        if isinstance(value.value, bool) or value.value is None:
            raise malformed("true, false and null have no order; compare them with = or !=", value.position)
        return Ordered(field, cast(OrderOperator, str(operator)), value.value)

    def one_of(self, field: Field, *values: _Value) -> Node:
        return OneOf(field, tuple(value.value for value in values))

    def has(self, field: Field, value: _Value) -> Node:
        return Has(field, value.value)

    def present(self, field: Field) -> Node:
        return Present(field)

    def field(self, *segments: Token) -> Field:
        return Field(tuple(map(_segment, segments)))

    def value(self, *tokens: Token) -> _Value:
        token = tokens[-1]
        return _Value(_scalar(token, negative=len(tokens) == 2), _position(tokens[0]))


class _CheckedTokens:
    """Sits between lexer and parser, and refuses words about which more can be said than that they are unexpected."""

    always_accept = ("UNFINISHED", "UNKNOWN")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        for token in stream:
            position = _position(token)
            if token.type == "NAME" and token.lower() in {"and", "or", "not", "in"}:
                raise malformed(f"{token.upper()} is written in capitals; a field of that name needs quotes", position)
            if token.type == "NUMBER" and not _JSON_NUMBER.fullmatch(token):
                raise malformed(f"{_shown(token)} is not a number; texts, and names like it, need quotes", position)
            if token.type == "UNFINISHED":
                raise malformed("the text that begins here has no closing quote", position)
            yield token


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="basic", transformer=_ToTree(), postlex=_CheckedTokens())


def _position(token: Token) -> int:
    return 0 if token.start_pos is None else token.start_pos


def _segment(token: Token) -> str:
    name = _unquoted(token) if token.type == "STRING" else str(token)
    if not name:
        raise malformed("a field name cannot be empty", _position(token))
    if not can_name(name):
        raise malformed("a field name cannot hold double quotes, backslashes or control characters", _position(token))
    return name


def _scalar(token: Token, negative: bool) -> Scalar:
    if token.type == "STRING":
        return _unquoted(token)
    if token.type == "NUMBER":
        return _number(token, negative)
    return {"true": True, "false": False, "null": None}[token]


def _number(token: Token, negative: bool) -> int | float:
    parts = _JSON_NUMBER.fullmatch(token)
    whole = parts is not None and not any(parts.groups())
    if len(token) > _LONGEST_NUMBER or math.isinf(float(token)):
        raise malformed("the number is too large", _position(token))
    number: int | float = int(token) if whole else float(token)
    # 3.0 and 3 are one value; from 2^53 on a float stands for the integers around it too, and stays one.
    if isinstance(number, float) and number.is_integer() and number < 2**53:
        number = int(number)
    return -number if negative else number


def _unquoted(token: Token) -> str:
    def replacement(escape: re.Match[str]) -> str:
        high, low, code, letter = escape.groups()
        if high:
            return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
        if code and not 0xD800 <= int(code, 16) < 0xE000:
            return chr(int(code, 16))
        if letter in _ESCAPED:
            return _ESCAPED[letter]
        raise malformed(f"{_shown(escape[0])} is not an escape of this language", _position(token) + 1 + escape.start())

    return _ESCAPE.sub(replacement, token[1:-1])


def _unexpected(error: UnexpectedToken, end: int) -> MalformedFilter:
    accepted = error.accepts or set()
    token = error.token
    if token.type == "$END":
        found, position = "the end of the filter", end
    else:
        found, position = _shown(token), _position(token)
    if (token.type == "_OR" and "_AND" in accepted) or ("_OR" in accepted and token.type in _MORE):
        return malformed("AND and OR side by side need parentheses to say which goes first", position)
    expected = next(words for tokens, words in _EXPECTED if tokens <= accepted)
    return malformed(f"found {found}, expected {expected}", position)


def _shown(text: str) -> str:
    return f"`{text}`" if len(text) <= 40 else f"`{text[:40]}…`"
