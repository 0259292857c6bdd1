"""Texts for pictures: what people type when they look for an item, each with the facts that it claims.

The claims let training and evaluation tell which *other* pictures a text also describes: "red dress" is right for
every red dress, so none of them may be punished as a wrong answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from clipsearch_demo.catalogue import wording
from clipsearch_demo.catalogue.specs import ProductSpec
from clipsearch_demo.catalogue.vocabulary import KINDS


@dataclass(frozen=True)
class Caption:
    """A text and what it claims: field name (kind, colour, pattern, second_colour, background, attribute) → value."""

    text: str
    claims: dict[str, str]

    def describes(self, spec: ProductSpec) -> bool:
        """Whether every claim holds for `spec`."""
        known = facts(spec)
        return all(known.get(name) == value for name, value in self.claims.items())


def facts(spec: ProductSpec) -> dict[str, str]:
    """Everything that a caption can claim about `spec`."""
    return {
        "kind": spec.kind,
        "colour": spec.colour,
        "pattern": spec.pattern,
        "second_colour": spec.second_colour,
        "background": spec.background,
        **dict(spec.attributes),
    }


def _pick(words: tuple[str, ...], rng: Random) -> str:
    """The plain word half of the time, else any of its synonyms."""
    return words[0] if rng.random() < 0.5 else rng.choice(words)


def _article(phrase: str) -> str:
    return "an" if phrase[0].lower() in "aeiou" else "a"


def _polish(text: str, plural: bool, rng: Random) -> str:
    """An opening and the letter case, as varied as people's typing."""
    opening = rng.random()
    if opening < 0.25:
        text = text if plural else f"{_article(text)} {text}"
    elif opening < 0.35:
        text = f"a photo of {text if plural else f'{_article(text)} {text}'}"
    case = rng.random()
    if case < 0.06:
        return text.upper()
    return text[0].upper() + text[1:] if case < 0.2 else text


def _core(
    spec: ProductSpec, with_colour: bool, with_pattern: bool, with_second: bool, rng: Random
) -> tuple[str, list[str]]:
    """Noun phrase and trailing phrases for the chosen facts, in one of several word orders."""
    kind = _pick(wording.KIND_WORDS[spec.kind], rng)
    colour = _pick(wording.COLOUR_WORDS[spec.colour], rng)
    second = _pick(wording.COLOUR_WORDS[spec.second_colour], rng)
    pattern = _pick(wording.PATTERN_WORDS[spec.pattern], rng) if with_pattern else ""
    trailing: list[str] = []
    if with_second:
        if with_colour and with_pattern and spec.pattern != "plain" and rng.random() < 0.35:
            # "red and white striped": the first named is the ground colour.
            return f"{colour} and {second} {pattern} {kind}", trailing
        trailing.append(wording.second_phrase(spec, second, rng))
    front = [colour] if with_colour else []
    if with_pattern and not (spec.pattern != "plain" and with_second and rng.random() < 0.4):
        front.append(pattern)
        if rng.random() < 0.3:
            front.reverse()
    if with_colour and rng.random() < 0.08:
        front.remove(colour)
        trailing.insert(0, f"in {colour}")
    return " ".join([*front, kind]), trailing


def full_caption(spec: ProductSpec, rng: Random, *, background: bool = False) -> Caption:
    """A caption that states kind, colour, pattern, second colour and every attribute, if asked the background too."""
    noun, trailing = _core(spec, True, True, True, rng)
    phrases = [*wording.attribute_phrases(spec, rng), *trailing]
    if rng.random() < 0.5:
        phrases.reverse()
    text = wording.join_phrases(noun, phrases)
    claims = facts(spec)
    if background:
        text = f"{text} {rng.choice(wording.BACKGROUND_WORDS[spec.background])}"
    else:
        del claims["background"]
    return Caption(_polish(text, KINDS[spec.kind].plural, rng), claims)


def partial_caption(spec: ProductSpec, rng: Random) -> Caption:
    """A caption that states the kind and some of the rest: "red dress", "striped mug", "handbag with a chain"."""
    with_colour = rng.random() < 0.75
    with_pattern = rng.random() < 0.45
    with_second = with_pattern and rng.random() < 0.3
    noun, trailing = _core(spec, with_colour, with_pattern, with_second, rng)
    claims = {"kind": spec.kind}
    if with_colour:
        claims["colour"] = spec.colour
    if with_pattern:
        claims["pattern"] = spec.pattern
    if with_second:
        claims["second_colour"] = spec.second_colour
    phrases = wording.attribute_phrases(spec, rng)
    for (name, value), phrase in zip(spec.attributes, phrases, strict=True):
        if rng.random() < 0.3:
            claims[name] = value
            trailing.append(phrase)
    text = wording.join_phrases(noun, trailing)
    if rng.random() < 0.12:
        claims["background"] = spec.background
        text = f"{text} {rng.choice(wording.BACKGROUND_WORDS[spec.background])}"
    return Caption(_polish(text, KINDS[spec.kind].plural, rng), claims)


def caption(spec: ProductSpec, rng: Random) -> Caption:
    """A caption as training draws it: mostly full ones, a good share partial, some with the background."""
    if rng.random() < 0.4:
        return partial_caption(spec, rng)
    return full_caption(spec, rng, background=rng.random() < 0.35)
