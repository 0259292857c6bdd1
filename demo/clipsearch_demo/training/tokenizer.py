"""The sample model's tokenizer: CLIP's own kind of byte-level BPE, with merges learned from the captions.

The vocabulary is laid out as CLIP's: every byte, every byte at a word's end, the merges, then start and end. So any
text can be tokenised, and the end token has the highest id, which suits both ways in which CLIP models find it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizerFast

START, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def _learn_merges(texts: Iterable[str], count: int) -> list[tuple[str, str]]:
    """The first `count` merges of a byte-level BPE over `texts`."""
    learner = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    learner.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + count,
        initial_alphabet=alphabet,
        end_of_word_suffix=_WORD_END,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges][:count]


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, context_length: int) -> CLIPTokenizerFast:
    """A tokenizer of at most `vocabulary_size` tokens that cuts texts to `context_length` tokens."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols += [symbol + _WORD_END for symbol in symbols]
    merges = _learn_merges(texts, vocabulary_size - len(symbols) - 2)
    tokens = list(dict.fromkeys([*symbols, *(left + right for left, right in merges), START, END]))
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, rules = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
        rules.write_text("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges))
        return CLIPTokenizerFast(
            str(vocabulary),
            str(rules),
            unk_token=END,
            bos_token=START,
            eos_token=END,
            pad_token=END,
            model_max_length=context_length,
        )
