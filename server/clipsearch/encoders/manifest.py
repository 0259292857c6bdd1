"""The bundle: what the export writes and the server loads.

A bundle is a directory: ``manifest.json``, ``tokenizer.json``, and for each tower an ONNX graph with its weights beside
it (external data, so that graphs over protobuf's 2 GiB work and ONNX Runtime can map weights instead of copying). The
manifest names every other file with its SHA-256; a bundle whose files do not match is refused, because a half-copied or
mixed-up bundle gives embeddings that look plausible and are wrong.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, TypeVar, get_args

from clipsearch.errors import UnusableBundle

FORMAT_VERSION: Final = 3
"""What is written: since 2 a text graph may be packed (see ``packing``), since 3 pairs of int8 weights fit 16 bits."""
READ_VERSIONS: Final = (1, 2, 3)

MANIFEST_FILE: Final = "manifest.json"
TOKENIZER_FILE: Final = "tokenizer.json"
TEXT_GRAPH_FILE: Final = "text.onnx"
IMAGE_GRAPH_FILE: Final = "image.onnx"

SHAPE_NODE: Final = "shape_"
"""How the names of a graph's nodes begin that reckon with shapes alone, and stay on the CPU when the tower does not."""

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PreprocessRule:
    """How the checkpoint's processor turns a picture into the image tower's input.

    ``shortest_edge`` (pixels) keeps the aspect ratio; ``resize_to`` (height, width) does not; exactly one is set where
    ``do_resize``. ``resample`` is Pillow's filter number. ``rescale_factor``, ``mean`` and ``std`` are recorded for the
    reader: the image graph has them folded in and takes uint8.
    """

    do_resize: bool
    shortest_edge: int | None
    resize_to: tuple[int, int] | None
    resample: int
    do_center_crop: bool
    crop_size: tuple[int, int] | None
    do_convert_rgb: bool
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class TowerParity:
    """Cosines between this bundle and the checkpoint run by transformers, each through its whole pipeline."""

    cases: int
    min_cosine: float
    mean_cosine: float


@dataclass(frozen=True, slots=True)
class Parity:
    """The parity gate's figures, one per tower."""

    text: TowerParity
    image: TowerParity


@dataclass(frozen=True, slots=True)
class AttentionNodes:
    """Fused attention nodes counted in each graph; equal to the tower's number of layers."""

    text: int
    image: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about a bundle that is not weights.

    ``weight_hash`` is SHA-256 over the checkpoint's weights (names, dtypes, shapes and bytes in name order), so two
    bundles of one checkpoint share it whatever their precision. ``pad_id`` fills short rows of a batch and never
    changes a result. ``files`` maps each file of the bundle, but the manifest, to its SHA-256.
    """

    format_version: int
    source: str
    weight_hash: str
    dimension: int
    context_length: int
    image_size: int
    preprocess: PreprocessRule
    precision: Precision
    opset: int
    logit_scale: float
    pad_id: int
    bos_id: int
    eos_id: int
    files: Mapping[str, str]
    attention_nodes: AttentionNodes
    parity: Parity

    @property
    def pairs_overflow(self) -> bool:
        """Whether two products of weights and activations may be more than 16 bits hold, in which AVX2 adds them."""
        return self.precision == "int8" and self.format_version < 3

    def to_json(self) -> str:
        """Return the text of ``manifest.json``."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse and check the text of ``manifest.json``; raises UnusableBundle with one sentence."""
        try:
            raw = json.loads(text)
        except ValueError as exc:
            raise UnusableBundle(f"{MANIFEST_FILE} is not valid JSON: {exc}.") from exc
        if not isinstance(raw, dict):
            raise UnusableBundle(f"{MANIFEST_FILE} does not hold a JSON object.")
        # Before all else: an unknown version may have other fields, and complaining about those would mislead.
        version = raw.get("format_version")
        if version not in READ_VERSIONS or isinstance(version, bool):
            raise UnusableBundle(
                f"{MANIFEST_FILE} has format version {version!r}, and this release reads versions "
                f"{READ_VERSIONS[0]} to {READ_VERSIONS[-1]}."
            )
        try:
            return _manifest(raw)
        except (KeyError, TypeError, ValueError) as exc:
            raise UnusableBundle(f"{MANIFEST_FILE} is malformed: {_sentence(exc)}.") from exc


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose files have been checked against its manifest."""

    path: Path
    manifest: Manifest

    @property
    def tokenizer(self) -> Path:
        """The Rust ``tokenizers`` file."""
        return self.path / TOKENIZER_FILE

    @property
    def text_graph(self) -> Path:
        """The text tower: int64 ids [batch, length], and what ``packing`` adds, to float32 [batch, dimension]."""
        return self.path / TEXT_GRAPH_FILE

    @property
    def image_graph(self) -> Path:
        """The image tower: uint8 pixels [batch, size, size, 3] to float32 [batch, dimension]."""
        return self.path / IMAGE_GRAPH_FILE


def load_bundle(directory: str | Path) -> Bundle:
    """Read a bundle's manifest and check every file against its hash.

    Raises UnusableBundle, saying in one sentence which file is missing, differs or cannot be read.
    """
    path = Path(directory)
    if not path.is_dir():
        raise UnusableBundle(f"{path} is not a directory, so there is no bundle to load.")
    try:
        text = (path / MANIFEST_FILE).read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise UnusableBundle(f"{path} holds no {MANIFEST_FILE}, so it is not a bundle.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise UnusableBundle(f"{path / MANIFEST_FILE} cannot be read: {exc}.") from exc
    manifest = Manifest.from_json(text)
    for name in (TOKENIZER_FILE, TEXT_GRAPH_FILE, IMAGE_GRAPH_FILE):
        if name not in manifest.files:
            raise UnusableBundle(f"{path / MANIFEST_FILE} does not list {name}.")
    for name, expected in manifest.files.items():
        _check_file(path, name, expected)
    return Bundle(path=path, manifest=manifest)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(directory: Path, name: str, expected: str) -> None:
    try:
        actual = file_hash(directory / name)
    except FileNotFoundError as exc:
        raise UnusableBundle(f"{directory} lacks {name}, which its manifest lists.") from exc
    except OSError as exc:
        raise UnusableBundle(f"{directory / name} cannot be read: {exc}.") from exc
    if actual != expected:
        raise UnusableBundle(
            f"{directory / name} does not match its manifest (SHA-256 {actual[:12]}…, expected {expected[:12]}…)."
        )


def _manifest(raw: Mapping[str, Any]) -> Manifest:
    precision = _typed(raw, "precision", str)
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    positive = {name: _typed(raw, name, int) for name in ("dimension", "context_length", "image_size", "opset")}
    for name, value in positive.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, and must be at least 1")
    parity = _typed(raw, "parity", dict)
    return Manifest(
        format_version=raw["format_version"],
        source=_typed(raw, "source", str),
        weight_hash=_typed(raw, "weight_hash", str),
        **positive,
        preprocess=_preprocess_rule(_typed(raw, "preprocess", dict)),
        precision=precision,
        logit_scale=_number(raw, "logit_scale"),
        **{name: _typed(raw, name, int) for name in ("pad_id", "bos_id", "eos_id")},
        files=_files(_typed(raw, "files", dict)),
        attention_nodes=AttentionNodes(**_exactly(AttentionNodes, _typed(raw, "attention_nodes", dict))),
        parity=Parity(
            text=_tower_parity(_typed(parity, "text", dict)), image=_tower_parity(_typed(parity, "image", dict))
        ),
    )


def _preprocess_rule(raw: Mapping[str, Any]) -> PreprocessRule:
    raw = _exactly(PreprocessRule, raw)
    rule = PreprocessRule(
        **{name: _typed(raw, name, bool) for name in raw if name.startswith("do_")},
        shortest_edge=None if raw["shortest_edge"] is None else _typed(raw, "shortest_edge", int),
        resize_to=_pair(raw, "resize_to"),
        resample=_typed(raw, "resample", int),
        crop_size=_pair(raw, "crop_size"),
        rescale_factor=_number(raw, "rescale_factor"),
        mean=_triple(raw, "mean"),
        std=_triple(raw, "std"),
    )
    if rule.do_resize and (rule.shortest_edge is None) == (rule.resize_to is None):
        raise ValueError("a resize needs exactly one of shortest_edge and resize_to")
    if rule.do_center_crop and rule.crop_size is None:
        raise ValueError("a centre crop needs crop_size")
    return rule


def _tower_parity(raw: Mapping[str, Any]) -> TowerParity:
    raw = _exactly(TowerParity, raw)
    return TowerParity(_typed(raw, "cases", int), _number(raw, "min_cosine"), _number(raw, "mean_cosine"))


def _files(raw: Mapping[str, Any]) -> dict[str, str]:
    for name in raw:
        # Names come from a file that may have been tampered with: nothing outside the bundle is opened.
        if PurePosixPath(name).name != name or "\\" in name:
            raise ValueError(f"file name {name!r} is not a plain name")
    return {name: _typed(raw, name, str) for name in raw}


def _exactly(kind: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: raw[field.name] for field in fields(kind)}


def _typed(raw: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = raw[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} is {value!r}, not of type {kind.__name__}")
    return value


def _number(raw: Mapping[str, Any], name: str) -> float:
    value = raw[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{name} is {value!r}, not a finite number")
    return float(value)


def _pair(raw: Mapping[str, Any], name: str) -> tuple[int, int] | None:
    value = raw[name]
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and n > 0 for n in value):
        raise TypeError(f"{name} is {value!r}, not two positive integers")
    return value[0], value[1]


def _triple(raw: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    value = raw[name]
    if not isinstance(value, list) or len(value) != 3:
        raise TypeError(f"{name} is {value!r}, not three numbers")
    red, green, blue = (_number({name: number}, name) for number in value)
    return red, green, blue


def _sentence(exc: Exception) -> str:
    return f"field {exc} is missing" if isinstance(exc, KeyError) else str(exc)
