"""A tiny CLIP checkpoint with a tokenizer of its own, made in a second."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

CONTEXT_LENGTH = 24
IMAGE_SIZE = 64
LAYERS = 2
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_WORDS = (
    "a photo of the red green blue black white striped plain cotton leather shirt shoe bag coat with and long short"
)


def tiny_checkpoint(
    directory: Path, *, legacy_eos: bool = False, activation: str = "quick_gelu", seed: int = 7
) -> Path:
    """Write a CLIPModel of two layers a tower; ``legacy_eos`` gives it the wrong eos id that old configs hold."""
    torch.set_num_threads(1)  # models this small are no faster on two, and far slower where the machine is busy
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(directory)
    CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    ).save_pretrained(directory)
    common: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "hidden_act": activation,
        "projection_dim": 48,
    }
    config = CLIPConfig(
        projection_dim=48,
        vision_config=common | {"image_size": IMAGE_SIZE, "patch_size": 16},
        text_config=common
        | {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": CONTEXT_LENGTH,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": 2 if legacy_eos else tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )
    generator = torch.Generator().manual_seed(7)
    model = CLIPModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "logit_scale":
                # As wide as trained weights: with transformers' own scale all embeddings are nearly the same.
                noise = torch.randn(parameter.shape, generator=generator)
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
                if "norm" in name and name.endswith("weight"):
                    parameter.copy_(torch.exp(noise * 0.3))
                elif "embedding" in name and "patch" not in name:
                    parameter.copy_(noise)
                else:
                    parameter.copy_(noise * (0.1 if parameter.dim() == 1 else fan_in**-0.5))
    model.save_pretrained(directory)
    return directory


def _tokenizer() -> CLIPTokenizerFast:
    """Train a byte-pair tokenizer built like CLIP's, its end token the largest id."""
    tokenizer = Tokenizer(models.BPE(unk_token=EOS, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = Regex(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([_WORDS] * 50, trainer)
    # As in CLIP every byte has a token that ends a word, and the begin and end tokens are the last ids.
    raw = json.loads(tokenizer.to_str())
    vocabulary = raw["model"]["vocab"]
    for token in (*(f"{letter}</w>" for letter in sorted(pre_tokenizers.ByteLevel.alphabet())), BOS, EOS):
        vocabulary.setdefault(token, len(vocabulary))
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    tokenizer.add_special_tokens([BOS, EOS])
    tokenizer.post_processor = processors.RobertaProcessing(
        (EOS, vocabulary[EOS]), (BOS, vocabulary[BOS]), False, False
    )
    return CLIPTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=EOS, unk_token=EOS,
        model_max_length=CONTEXT_LENGTH,
    )  # fmt: skip
