"""Load a CLIP checkpoint and say in one sentence what is wrong with it."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
import numpy as np
import torch
import transformers
from PIL import Image

from clipsearch.encoders.manifest import PreprocessRule
from clipsearch_export.errors import ExportError
from clipsearch_export.graph import Weights
from clipsearch_export.towers import TowerConfig

T = TypeVar("T")

_DERIVED: tuple[str, ...] = ("position_ids",)
"""Buffers that some checkpoints carry and the model makes itself."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A CLIPModel in float32 with its own tokenizer and image processor."""

    source: str
    model: Any
    tokenizer: Any
    image_processor: Any

    @property
    def image_size(self) -> int:
        """Height and width in pixels of what the image tower takes."""
        return int(self.model.config.vision_config.image_size)

    @property
    def context_length(self) -> int:
        """Tokens that the text tower takes at most, begin and end included."""
        # A tokenizer without a limit of its own says 1e30.
        return int(min(self.model.config.text_config.max_position_embeddings, self.tokenizer.model_max_length))

    @property
    def text_config(self) -> TowerConfig:
        """The text tower's geometry."""
        return _tower_config(self.model.config.text_config)

    @property
    def image_config(self) -> TowerConfig:
        """The image tower's geometry."""
        return _tower_config(self.model.config.vision_config)

    def weights(self) -> Weights:
        """Return all parameters, float32, by name; they share memory with the model."""
        return {name: tensor.detach().numpy() for name, tensor in self.model.state_dict().items()}

    def weight_hash(self) -> str:
        """Return SHA-256 over names, dtypes, shapes and bytes of all parameters in the order of their names."""
        digest = hashlib.sha256()
        for name, array in sorted(self.weights().items()):
            digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def preprocess_rule(self) -> PreprocessRule:
        """Return the image processor's settings; raises ExportError where they don't give the size the tower takes."""
        processor = self.image_processor
        size, crop = processor.size, processor.crop_size
        resize_to = (size["height"], size["width"]) if "height" in size else None
        rule = PreprocessRule(
            do_resize=bool(processor.do_resize),
            shortest_edge=size.get("shortest_edge") if resize_to is None else None,
            resize_to=resize_to,
            resample=int(processor.resample),
            do_center_crop=bool(processor.do_center_crop),
            crop_size=(crop["height"], crop["width"]) if crop else None,
            do_convert_rgb=bool(processor.do_convert_rgb),
            do_rescale=bool(processor.do_rescale),
            rescale_factor=float(processor.rescale_factor),
            do_normalize=bool(processor.do_normalize),
            mean=_triple(processor.image_mean),
            std=_triple(processor.image_std),
        )
        square = (self.image_size, self.image_size)
        result = rule.crop_size if rule.do_center_crop else rule.resize_to if rule.do_resize else None
        if result != square:
            raise ExportError(
                f"The image processor of {self.source} does not always give "
                f"{self.image_size}x{self.image_size} pixels, which is what its image tower takes."
            )
        Image.Resampling(rule.resample)
        return rule


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Load a local directory or a hub id; raises ExportError with one sentence where that can't be a CLIPModel."""
    name = str(source)
    local = Path(name).is_dir()
    if local and not (Path(name) / "config.json").is_file():
        raise ExportError(f"{name} holds no config.json, so it is not a checkpoint.")
    if not local and (Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1):
        raise ExportError(f"{name} does not exist.")
    with _quiet():
        config = _part(name, "configuration", lambda: transformers.AutoConfig.from_pretrained(name))
        _check_config(name, config)
        model = _load_model(name, config)
        tokenizer = _part(name, "tokenizer", lambda: transformers.AutoTokenizer.from_pretrained(name, use_fast=True))
        processor = _part(name, "image processor", lambda: transformers.CLIPImageProcessor.from_pretrained(name))
    if not tokenizer.is_fast or tokenizer.eos_token_id is None or tokenizer.bos_token_id is None:
        raise ExportError(f"The tokenizer of {name} has no fast (Rust) version with begin and end tokens.")
    return Checkpoint(source=name, model=model.eval(), tokenizer=tokenizer, image_processor=processor)


def _load_model(source: str, config: Any) -> Any:
    def load() -> tuple[Any, dict[str, Any]]:
        loaded: tuple[Any, dict[str, Any]] = transformers.CLIPModel.from_pretrained(
            source, config=config, dtype=torch.float32, output_loading_info=True
        )
        return loaded

    model, report = _part(source, "weights", load)
    missing = sorted(key for key in report["missing_keys"] if not key.endswith(_DERIVED))
    missing += sorted(str(key[0]) for key in report["mismatched_keys"])
    if missing:
        # transformers would fill these in at random, with a warning.
        raise ExportError(
            f"The weights of {source} are no complete CLIPModel: {len(missing)} are missing, as {missing[0]}."
        )
    return model


def _part(source: str, what: str, load: Callable[[], T]) -> T:
    """Load one part of a checkpoint; the libraries' many errors become one sentence, kept as its cause."""
    try:
        return load()
    except MemoryError:
        raise
    except Exception as exc:
        if Path(source).is_dir():
            raise ExportError(f"The {what} of {source} cannot be loaded: {_first_line(exc)}.") from exc
        raise ExportError(
            f"The {what} of {source} cannot be loaded: it is no local directory, and the model hub did not deliver it "
            f"({_first_line(exc)})."
        ) from exc


def _check_config(source: str, config: Any) -> None:
    if not isinstance(config, transformers.CLIPConfig):
        raise ExportError(f"{source} is of architecture {config.model_type!r}; only CLIPModel ('clip') is supported.")
    named = config.architectures or ["CLIPModel"]
    if "CLIPModel" not in named:
        raise ExportError(f"{source} is a {named[0]}; only CLIPModel, with both towers and projections, is supported.")
    if config.vision_config.num_channels != 3:
        raise ExportError(
            f"{source} takes pictures of {config.vision_config.num_channels} channels; only RGB is supported."
        )


def _tower_config(config: Any) -> TowerConfig:
    return TowerConfig(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        width=config.hidden_size,
        epsilon=config.layer_norm_eps,
        activation=config.hidden_act,
    )


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in (values if isinstance(values, list | tuple) else [values] * 3))
    return red, green, blue


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' advice and retries off the terminal; what matters in them is checked and said by us."""
    loggers = (transformers.logging, huggingface_hub.logging)
    levels = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(exc).__name__
