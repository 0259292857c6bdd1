"""The sample model's shape, and how it is saved and loaded: `transformers.CLIPModel`, weights as fp16 safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

IMAGE_SIZE = 64
CONTEXT_LENGTH = 40
VOCABULARY_SIZE = 1200
_WIDTH = 128


def build_model(tokenizer: CLIPTokenizerFast) -> CLIPModel:
    """An untrained model of 1.5 million parameters: small enough that checkpoint and ONNX bundle stay below 10 MB."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": _WIDTH,
        "intermediate_size": 3 * _WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT_LENGTH,
        "projection_dim": _WIDTH,
        **ids,
    }
    vision = {
        "hidden_size": _WIDTH,
        "intermediate_size": 4 * _WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
        "projection_dim": _WIDTH,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=_WIDTH))


def build_processor(tokenizer: CLIPTokenizerFast, mean: list[float], std: list[float]) -> CLIPProcessor:
    """The processor that belongs to the model; `mean` and `std` are per channel, of pixels scaled to 0 … 1."""
    images = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        resample=Image.Resampling.BICUBIC,
        image_mean=mean,
        image_std=std,
    )
    return CLIPProcessor(images, tokenizer)


def save_checkpoint(model: CLIPModel, processor: CLIPProcessor, folder: Path) -> None:
    """Write a directory that `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained` load; weights as fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    # Training has used the tokenizer with padding and truncation, which would otherwise be saved as its habits.
    processor.tokenizer.backend_tokenizer.no_padding()
    processor.tokenizer.backend_tokenizer.no_truncation()
    processor.save_pretrained(folder)
    # A copy: halving the caller's own weights would leave training with them.
    half = CLIPModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)


def load_checkpoint(folder: Path) -> tuple[CLIPModel, CLIPProcessor]:
    """The stored model, computing in float32 with the weights as they were rounded to fp16."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), CLIPProcessor.from_pretrained(folder)


class Embedder:
    """Embeds through `transformers` itself: the reference for what the server must answer."""

    def __init__(self, model: CLIPModel, processor: CLIPProcessor, batch: int = 256) -> None:
        self._model, self._processor, self._batch = model, processor, batch

    def texts(self, texts: list[str]) -> NDArray[np.float32]:
        """Unit vectors of `texts`; float32 (n, dimension)."""
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), self._batch):
            inputs = self._processor(
                text=texts[start : start + self._batch], return_tensors="pt", padding=True, truncation=True
            )
            with torch.inference_mode():
                parts.append(_unit(self._model.get_text_features(**inputs)))
        return np.concatenate(parts)

    def images(self, images: list[Image.Image]) -> NDArray[np.float32]:
        """Unit vectors of pictures of any size; float32 (n, dimension)."""
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(images), self._batch):
            inputs = self._processor(images=images[start : start + self._batch], return_tensors="pt")
            with torch.inference_mode():
                parts.append(_unit(self._model.get_image_features(**inputs)))
        return np.concatenate(parts)


def _unit(vectors: torch.Tensor) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = torch.nn.functional.normalize(vectors.float(), dim=-1).numpy()
    return unit
