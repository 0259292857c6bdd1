"""Make a CLIP checkpoint of full size with seeded random weights: for parity tests and speed where none can be had.

    python benchmarks/random_checkpoint.py vit-b-32 --out build/vit-b-32 --seed 1

As transformers initialises it, a CLIPModel gives nearly the same embedding for everything: the branches of each layer
add a few per cent to a residual stream that position embeddings and the class token dominate. Parity with that proves
nothing. Here the weights are scaled to what trained ones do: embeddings of unit variance with positions at a third of
it, every branch adding about as much as flows past, attention logits of standard deviation 1.5 so that heads look
somewhere, and layer norms with gains spread over a decade, as the outlier channels of trained models have, which is
what makes int8 hard.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
PREPROCESSOR_FILE = "preprocessor_config.json"
DEFAULT_TOKENIZER = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "clip_tokenizer"


def _geometry(width: int, text_width: int, layers: int, patch: int, dimension: int) -> dict[str, Any]:
    """Return CLIPConfig arguments; heads are 64 wide in all of CLIP's published models."""
    return {
        "projection_dim": dimension,
        "vision_config": {
            "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
            "num_attention_heads": width // 64, "patch_size": patch, "image_size": 224, "projection_dim": dimension,
        },
        "text_config": {
            "hidden_size": text_width, "intermediate_size": 4 * text_width, "num_hidden_layers": 12,
            "num_attention_heads": text_width // 64, "vocab_size": 49408, "max_position_embeddings": 77,
            "projection_dim": dimension, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407,
        },
    }  # fmt: skip


GEOMETRIES: dict[str, dict[str, Any]] = {
    "vit-b-32": _geometry(width=768, text_width=512, layers=12, patch=32, dimension=512),
    "vit-b-16": _geometry(width=768, text_width=512, layers=12, patch=16, dimension=512),
    "vit-l-14": _geometry(width=1024, text_width=768, layers=24, patch=14, dimension=768),
}
"""OpenAI's three sizes, as in their published configurations."""


def random_model(config: CLIPConfig, seed: int) -> CLIPModel:
    """Build a CLIPModel whose random weights tell inputs apart; the same seed gives the same weights."""
    generator = torch.Generator().manual_seed(seed)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "logit_scale":
                parameter.copy_(_values(name, parameter, generator))
    return model


def _values(name: str, parameter: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(parameter.shape, generator=generator)
    if "norm" in name and name.endswith("weight"):
        return torch.exp(noise * 0.5)
    if name.endswith("bias"):
        return noise * 0.1
    if "position_embedding" in name or "class_embedding" in name:
        return noise * 0.3
    if "token_embedding" in name:
        return noise
    fan_in = parameter[0].numel()
    # Pixels are smooth, so a patch's sum grows with its size rather than with its root; 0.3 evens that out.
    gain = 0.3 if "patch_embedding" in name else 1.2 if "q_proj" in name or "k_proj" in name else 1.0
    return noise * (gain / fan_in**0.5)


def main() -> None:
    """Write one checkpoint."""
    parser = argparse.ArgumentParser(description="Make a CLIP checkpoint of full size with seeded random weights.")
    parser.add_argument("geometry", choices=sorted(GEOMETRIES))
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--tokenizer", type=Path, default=DEFAULT_TOKENIZER,
        help="directory with CLIP's tokenizer.json and preprocessor_config.json",
    )  # fmt: skip
    arguments = parser.parse_args()
    if not (arguments.tokenizer / "tokenizer.json").is_file():
        sys.exit(f"{arguments.tokenizer} holds no tokenizer.json; name CLIP's tokenizer directory with --tokenizer.")
    model = random_model(CLIPConfig(**GEOMETRIES[arguments.geometry]), arguments.seed)
    model.save_pretrained(arguments.out)
    for name in (*TOKENIZER_FILES, PREPROCESSOR_FILE):
        if (arguments.tokenizer / name).is_file():
            shutil.copy(arguments.tokenizer / name, arguments.out / name)
    print(f"{arguments.out}: {sum(p.numel() for p in model.parameters()) / 1e6:.0f} M parameters")


if __name__ == "__main__":
    main()
