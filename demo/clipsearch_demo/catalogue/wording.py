"""Words for what the vocabulary names: synonyms, phrases for attributes, and an item's title and description.

Every phrase says one thing about an item; `captions` builds queries and training texts from them, the catalogue its
titles. The first word of each list is the plain one, which titles use.
"""

from __future__ import annotations

from random import Random

from clipsearch_demo.catalogue.specs import ProductSpec

KIND_WORDS: dict[str, tuple[str, ...]] = {
    "t-shirt": ("t-shirt", "tee", "tee shirt", "tshirt"),
    "shirt": ("shirt", "button-up shirt", "button-down", "blouse"),
    "sweater": ("sweater", "jumper", "pullover sweater", "knitted sweater"),
    "hoodie": ("hoodie", "hooded sweatshirt", "hooded top", "sweatshirt with hood"),
    "jacket": ("jacket", "short jacket", "bomber jacket"),
    "coat": ("coat", "overcoat", "trench coat", "long coat"),
    "dress": ("dress", "frock", "gown"),
    "skirt": ("skirt", "women's skirt"),
    "trousers": ("trousers", "pants", "slacks"),
    "shorts": ("shorts", "short pants", "bermuda shorts"),
    "socks": ("socks", "pair of socks", "stockings"),
    "sneakers": ("sneakers", "trainers", "running shoes", "sports shoes"),
    "boots": ("boots", "pair of boots", "leather boots"),
    "heels": ("heels", "high heels", "pumps", "high-heeled shoes"),
    "handbag": ("handbag", "purse", "ladies' bag", "hand bag"),
    "backpack": ("backpack", "rucksack", "school bag", "knapsack"),
    "hat": ("hat", "fedora", "brimmed hat"),
    "cap": ("cap", "baseball cap", "peaked cap"),
    "beanie": ("beanie", "woolly hat", "knit cap", "winter hat"),
    "scarf": ("scarf", "shawl", "neck scarf"),
    "tie": ("tie", "neckwear", "men's tie"),
    "umbrella": ("umbrella", "parasol", "brolly"),
    "watch": ("watch", "wristwatch", "wrist watch", "timepiece"),
    "sunglasses": ("sunglasses", "shades", "sun glasses", "sunnies"),
    "mug": ("mug", "coffee mug", "cup", "coffee cup"),
    "lamp": ("lamp", "table lamp", "desk lamp", "bedside lamp"),
    "vase": ("vase", "flower vase", "ceramic vase"),
    "cushion": ("cushion", "pillow", "throw pillow", "sofa cushion"),
}

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet", "cherry red"),
    "orange": ("orange", "tangerine", "pumpkin orange"),
    "yellow": ("yellow", "lemon yellow", "golden yellow", "canary"),
    "green": ("green", "emerald", "grass green"),
    "turquoise": ("turquoise", "teal", "aqua", "cyan"),
    "blue": ("blue", "cobalt", "royal blue"),
    "navy": ("navy", "navy blue", "dark blue", "midnight blue"),
    "purple": ("purple", "violet", "plum"),
    "pink": ("pink", "rose pink", "rosy", "light pink"),
    "brown": ("brown", "chocolate brown", "chestnut"),
    "beige": ("beige", "tan", "sand", "camel"),
    "black": ("black", "jet black", "ebony"),
    "grey": ("grey", "gray", "ash grey", "silver grey"),
    "white": ("white", "ivory", "snow white", "off-white"),
}

PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "solid", "single-coloured", "unpatterned"),
    "striped": ("striped", "stripy", "stripey"),
    "dotted": ("dotted", "spotted", "polka dot", "polka-dotted"),
    "checked": ("checked", "plaid", "chequered", "tartan"),
    "floral": ("floral", "flowered", "flowery", "flower print"),
    "zigzag": ("zigzag", "chevron", "zig-zag"),
    "diamond": ("diamond", "argyle", "harlequin", "diamond-patterned"),
}

PATTERN_NOUNS: dict[str, tuple[str, ...]] = {
    "striped": ("stripes", "bands"),
    "dotted": ("dots", "polka dots", "spots"),
    "checked": ("checks", "squares"),
    "floral": ("flowers", "blossoms", "a floral print in {}"),
    "zigzag": ("zigzags", "chevrons", "zigzag lines"),
    "diamond": ("diamonds", "an argyle pattern in {}"),
}
"""What the second colour draws; a phrase with {} takes the colour inside, any other after it."""

TRIM_WORDS: dict[str, tuple[str, ...]] = {
    "shirt": ("buttons",),
    "coat": ("buttons",),
    "dress": ("waistband", "sash"),
    "skirt": ("waistband",),
    "trousers": ("waistband", "turn-ups"),
    "heels": ("heel",),
    "handbag": ("flap",),
    "backpack": ("front pocket", "straps"),
    "hat": ("ribbon", "band"),
    "cap": ("peak", "visor"),
    "beanie": ("brim",),
    "umbrella": ("handle",),
    "watch": ("dial", "face"),
    "sunglasses": ("lenses", "glasses"),
    "mug": ("handle", "rim"),
    "lamp": ("base", "stand"),
    "cushion": ("piping", "border"),
}
"""Where the second colour is besides the pattern; kinds that aren't here have a "trim"."""

GENERAL_TRIM = ("trim", "details", "accents")

ATTRIBUTE_WORDS: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("t-shirt", "sleeves", "short"): ("with short sleeves", "short-sleeved {}", "short sleeve {}"),
    ("t-shirt", "sleeves", "long"): ("with long sleeves", "long-sleeved {}", "long sleeve {}"),
    ("t-shirt", "neck", "round"): ("with a round neck", "crew neck {}", "with a crew neck"),
    ("t-shirt", "neck", "v-neck"): ("with a v-neck", "v-neck {}"),
    ("shirt", "sleeves", "short"): ("with short sleeves", "short-sleeved {}", "short sleeve {}"),
    ("shirt", "sleeves", "long"): ("with long sleeves", "long-sleeved {}", "long sleeve {}"),
    ("shirt", "pocket", "with"): ("with a breast pocket", "with a chest pocket"),
    ("shirt", "pocket", "without"): ("without pocket", "with no pocket"),
    ("sweater", "neck", "round"): ("with a round neck", "crew neck {}", "with a crew neck"),
    ("sweater", "neck", "v-neck"): ("with a v-neck", "v-neck {}"),
    ("sweater", "neck", "turtleneck"): ("with a turtleneck", "turtleneck {}", "roll-neck {}", "with a high collar"),
    ("hoodie", "closure", "zip"): ("with a zip", "zip-up {}", "zipped {}"),
    ("hoodie", "closure", "pullover"): ("with a pouch pocket", "pullover {}", "without zip"),
    ("jacket", "closure", "zip"): ("with a zip", "zip-up {}", "zipped {}"),
    ("jacket", "closure", "buttoned"): ("with buttons", "buttoned {}", "with gold buttons"),
    ("jacket", "collar", "stand-up"): ("with a stand-up collar", "stand-up collar {}"),
    ("jacket", "collar", "wide"): ("with a wide collar", "wide-collared {}", "with a big collar"),
    ("coat", "breast", "single"): ("with one row of buttons", "single-breasted {}"),
    ("coat", "breast", "double"): ("with two rows of buttons", "double-breasted {}"),
    ("coat", "belt", "with"): ("with a belt", "belted {}"),
    ("coat", "belt", "without"): ("without belt", "unbelted {}", "with no belt"),
    ("dress", "sleeves", "none"): ("without sleeves", "sleeveless {}", "with no sleeves"),
    ("dress", "sleeves", "short"): ("with short sleeves", "short-sleeved {}", "short sleeve {}"),
    ("dress", "sleeves", "long"): ("with long sleeves", "long-sleeved {}", "long sleeve {}"),
    ("dress", "length", "short"): ("short {}", "mini {}", "knee-length {}"),
    ("dress", "length", "long"): ("long {}", "maxi {}", "full-length {}"),
    ("skirt", "length", "short"): ("short {}", "mini {}"),
    ("skirt", "length", "long"): ("long {}", "maxi {}", "full-length {}"),
    ("skirt", "cut", "pleated"): ("pleated {}", "with pleats"),
    ("skirt", "cut", "flared"): ("flared {}", "swinging {}", "a-line {}"),
    ("skirt", "cut", "pencil"): ("pencil {}", "straight {}", "tight {}"),
    ("trousers", "cut", "slim"): ("slim {}", "skinny {}", "tapered {}"),
    ("trousers", "cut", "wide-leg"): ("wide-leg {}", "with wide legs", "wide {}"),
    ("shorts", "waist", "belted"): ("with a belt", "belted {}"),
    ("shorts", "waist", "drawstring"): ("with a drawstring", "drawstring {}"),
    ("socks", "length", "short"): ("short {}", "ankle {}"),
    ("socks", "length", "long"): ("long {}", "knee-high {}"),
    ("sneakers", "height", "low"): ("low {}", "low-top {}", "low-cut {}"),
    ("sneakers", "height", "high"): ("high-top {}", "high {}", "ankle-high {}"),
    ("boots", "height", "ankle"): ("ankle {}", "short {}", "low {}"),
    ("boots", "height", "knee"): ("knee-high {}", "tall {}", "high {}"),
    ("boots", "heel", "flat"): ("with flat soles", "flat {}", "without heel"),
    ("boots", "heel", "high"): ("with a heel", "heeled {}", "with high heels"),
    ("heels", "heel", "stiletto"): ("stiletto {}", "with stiletto heels", "with thin heels"),
    ("heels", "heel", "block"): ("block-heeled {}", "with block heels", "with chunky heels"),
    ("heels", "strap", "with"): ("with ankle straps", "strappy {}", "with a strap"),
    ("heels", "strap", "without"): ("without straps", "strapless {}", "slip-on {}"),
    ("handbag", "strap", "handle"): ("with a handle", "top-handle {}", "with handles"),
    ("handbag", "strap", "chain"): ("with a gold chain", "chain-strap {}", "with a chain strap"),
    ("handbag", "shape", "round"): ("round {}", "rounded {}", "curved {}"),
    ("handbag", "shape", "boxy"): ("boxy {}", "square {}", "angular {}"),
    ("backpack", "closure", "flap"): ("with a flap", "with a buckled flap", "buckled {}"),
    ("backpack", "closure", "zip"): ("with a zip", "zip-up {}", "zipped {}"),
    ("hat", "brim", "wide"): ("with a wide brim", "wide-brimmed {}", "with a broad brim"),
    ("hat", "brim", "narrow"): ("with a narrow brim", "narrow-brimmed {}", "with a small brim"),
    ("cap", "badge", "with"): ("with a badge", "with a star badge", "with a star"),
    ("cap", "badge", "without"): ("without badge", "with no badge"),
    ("beanie", "pompom", "with"): ("with a pompom", "bobble {}", "with a bobble"),
    ("beanie", "pompom", "without"): ("without pompom", "with no bobble"),
    ("scarf", "fringe", "with"): ("with fringes", "fringed {}", "with tassels"),
    ("scarf", "fringe", "without"): ("without fringes", "with no tassels"),
    ("scarf", "fold", "knotted"): ("knotted {}", "tied {}"),
    ("scarf", "fold", "draped"): ("draped {}", "untied {}", "loosely draped {}"),
    ("tie", "style", "long"): ("long {}", "classic {}"),
    ("tie", "style", "bow"): ("bow {}",),
    ("umbrella", "handle", "curved"): ("with a curved handle", "with a crook handle", "with a hooked handle"),
    ("umbrella", "handle", "straight"): ("with a straight handle",),
    ("watch", "dial", "round"): ("with a round dial", "round {}"),
    ("watch", "dial", "square"): ("with a square dial", "square {}"),
    ("sunglasses", "shape", "round"): ("round {}", "with round lenses"),
    ("sunglasses", "shape", "square"): ("square {}", "with square lenses", "rectangular {}"),
    ("mug", "shape", "tall"): ("tall {}", "high {}"),
    ("mug", "shape", "wide"): ("wide {}", "low {}", "short {}"),
    ("lamp", "base", "tripod"): ("with a tripod", "tripod {}", "with three legs"),
    ("lamp", "base", "column"): ("with a column foot", "with a turned foot", "pedestal {}"),
    ("vase", "shape", "round"): ("round {}", "bulbous {}", "wide {}"),
    ("vase", "shape", "slender"): ("slender {}", "narrow {}", "slim {}"),
    ("vase", "flowers", "with"): ("with flowers in it", "filled with flowers", "holding flowers"),
    ("vase", "flowers", "without"): ("without flowers", "empty {}"),
    ("cushion", "shape", "round"): ("round {}", "circular {}"),
    ("cushion", "shape", "square"): ("square {}", "square-shaped {}"),
}
"""(kind, attribute, value) to phrases; {} stands for the product, so such a phrase goes before it, any other after."""

BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    "white": ("on a white background", "on white", "against white"),
    "grey": ("on a grey background", "on grey", "against a grey wall"),
    "blue": ("on a pale blue background", "on light blue", "against a light blue wall"),
    "pink": ("on a pale pink background", "on light pink", "against a pale pink wall"),
    "green": ("on a pale green background", "on light green", "against a light green wall"),
    "cream": ("on a cream background", "on cream", "against a cream wall"),
    "wood": ("on a wooden table", "on wood", "on wooden boards"),
    "marble": ("on marble", "on a marble slab", "on a marble table"),
}

_OPENINGS = ("An everyday favourite", "Made to last", "Our bestseller", "New this season", "A small joy", "Simply good")
_HARD_GOODS = frozenset(("watch", "sunglasses", "umbrella", "mug", "lamp", "vase"))
_LEATHER_GOODS = frozenset(("sneakers", "boots", "heels", "handbag", "backpack"))
_CARE = {
    "cloth": ("Machine washable at 30 °C.", "Made from soft organic cotton.", "Falls true to size."),
    "leather": ("Wipe clean with a damp cloth.", "Lined throughout.", "Reinforced seams."),
    "hard": ("Dispatched within two days.", "Finished by hand.", "Comes in a recycled box."),
}


def second_phrase(spec: ProductSpec, colour: str, rng: Random | None = None) -> str:
    """What says the second colour, named `colour`: "with white stripes", or "with a white ribbon" where plain.

    The plain word without `rng`, else any.
    """
    if spec.pattern == "plain":
        words = TRIM_WORDS.get(spec.kind, GENERAL_TRIM)
        noun = words[0] if rng is None else rng.choice(words)
        plural = noun.endswith("s") or noun in ("trim", "piping")
        return f"with {colour} {noun}" if plural else f"with a {colour} {noun}"
    words = PATTERN_NOUNS[spec.pattern]
    noun = words[0] if rng is None else rng.choice(words)
    return f"with {noun.format(colour)}" if "{}" in noun else f"with {colour} {noun}"


def attribute_phrases(spec: ProductSpec, rng: Random | None = None) -> list[str]:
    """One phrase for each attribute: the plain one, or a random one of its synonyms."""
    phrases = [ATTRIBUTE_WORDS[spec.kind, name, value] for name, value in spec.attributes]
    return [words[0] if rng is None else rng.choice(words) for words in phrases]


def join_phrases(noun: str, phrases: list[str]) -> str:
    """`noun` with the phrases that hold {} before it and the others after it; one "with" serves all that begin so."""
    before = [phrase.replace("{}", "").strip() for phrase in phrases if "{}" in phrase]
    after = [phrase for phrase in phrases if "{}" not in phrase and not phrase.startswith("with ")]
    having = [phrase.removeprefix("with ") for phrase in phrases if phrase.startswith("with ")]
    if having:
        after.append("with " + " and ".join(having))
    return " ".join([*before, noun, *after])


def title(spec: ProductSpec) -> str:
    """The shop's title, in plain words and always the same for the same item."""
    second = second_phrase(spec, spec.second_colour)
    pattern = "" if spec.pattern == "plain" else f"{spec.pattern} "
    core = join_phrases(f"{spec.colour} {pattern}{spec.kind}", [attribute_phrases(spec)[0], second])
    return core[0].upper() + core[1:]


def description(spec: ProductSpec) -> str:
    """Two or three sentences for the product's page."""
    rng = Random(spec.render_seed + 1)
    words = KIND_WORDS[spec.kind]
    design = "plain design" if spec.pattern == "plain" else f"{spec.pattern} design"
    details = "; ".join(phrase.replace("{}", "").strip() for phrase in attribute_phrases(spec))
    material = "hard" if spec.kind in _HARD_GOODS else "leather" if spec.kind in _LEATHER_GOODS else "cloth"
    care = rng.choice(_CARE[material])
    return (
        f"{rng.choice(_OPENINGS)}: {words[-1]} in a {design}, {spec.colour} with {spec.second_colour}. "
        f"Details: {details}. {care}"
    )
