"""Seeded damage to bytes, as files and messages meet it: flipped bits, lost and repeated parts, lengths that lie."""

import random
from collections.abc import Sequence

NUMBERS = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0",
    b"\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
)
"""Ends of the ranges of integers, where sizes and counts go wrong."""


def mutate(chance: random.Random, seed: bytes, others: Sequence[bytes]) -> bytes:
    """Damage ``seed`` one to four times; parts of ``others`` may be put into it."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 4))):
        _DAMAGES[chance.randrange(len(_DAMAGES))](chance, data, others)
    return bytes(data)


def _flip(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _ in range(chance.choice((1, 1, 3, 16))):
        if data:
            data[_place(chance, data)] ^= 1 << chance.randrange(8)


def _number(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    number, place = chance.choice(NUMBERS), _place(chance, data)
    data[place : place + len(number)] = number


def _cut(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[_place(chance, data) :]


def _lose(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = _place(chance, data)
    del data[start : start + chance.randint(1, 64)]


def _repeat(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = _place(chance, data)
    part = bytes(data[start : start + chance.randint(1, 256)])
    data[start:start] = part * chance.choice((1, 2, 30))


def _noise(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = _place(chance, data)
    data[start : start + 8] = chance.randbytes(chance.randint(1, 64))


def _splice(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    other = chance.choice(others)
    data[_place(chance, data) :] = other[chance.randrange(len(other) + 1) :]


_DAMAGES = (_flip, _flip, _number, _cut, _lose, _repeat, _noise, _splice)


def _place(chance: random.Random, data: bytearray) -> int:
    """Anywhere, and half of the time among the first bytes, where headers are."""
    if not data:
        return 0
    return chance.randrange(min(len(data), 64) if chance.random() < 0.5 else len(data))
