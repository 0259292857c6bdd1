"""The tokenizer against transformers' own, and what is ours alone: truncation said, and threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch.encoders.tokenizer import BpeTokenizer
from clipsearch.errors import UnusableBundle
from tests.unit.encoders.helpers import CLIP_TOKENIZER

TEXTS = [
    "",
    " ",
    "a",
    "a photo of a cat",
    "A Photo,  of\ta\ncat!!!",
    "it's they've we'll I'd",
    "crème brûlée Straße İstanbul ﬁ e\u0301",
    "красное платье",
    "赤いシャツ 红色衬衫 빨간 셔츠",
    "👟👩‍👩‍👧🇺🇸",
    "a\u200bb\u00a0c\u2028d\ufeff",
    "\x00\x01\x7f",
    "1234567890 3.14159",
    "<|startoftext|> inside <|endoftext|> after",
    "word " * 74,
    "word " * 75,
    "word " * 76,
    "word " * 500,
    "🦆" * 200,
]


@pytest.fixture(scope="module")
def ours(clip_tokenizer_directory: Path) -> BpeTokenizer:
    return BpeTokenizer(clip_tokenizer_directory / "tokenizer.json", context_length=77)


@pytest.fixture(scope="module")
def theirs(clip_tokenizer_directory: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.CLIPTokenizerFast.from_pretrained(clip_tokenizer_directory)


@pytest.mark.export
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_equal_to_transformers(ours: BpeTokenizer, theirs: Any, text: str) -> None:
    assert ours(text).ids.tolist() == theirs(text, truncation=True, max_length=77)["input_ids"]


@pytest.mark.export
@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=120))
def test_equal_on_any_unicode(ours: BpeTokenizer, theirs: Any, text: str) -> None:
    assert ours(text).ids.tolist() == theirs(text, truncation=True, max_length=77)["input_ids"]


def test_ids_begin_and_end(ours: BpeTokenizer) -> None:
    tokens = ours("a photo of a cat")
    assert tokens.ids.dtype == np.int64
    assert tokens.ids.tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert not tokens.truncated


@pytest.mark.parametrize(("words", "length", "truncated"), [(74, 76, False), (75, 77, False), (76, 77, True)])
def test_truncation_is_said_and_keeps_the_end(ours: BpeTokenizer, words: int, length: int, truncated: bool) -> None:
    tokens = ours(" ".join(["cat"] * words))
    assert (len(tokens.ids), tokens.truncated) == (length, truncated)
    assert tokens.ids[-1] == 49407


def test_many_threads_agree_with_one(ours: BpeTokenizer) -> None:
    alone = [ours(text).ids.tolist() for text in TEXTS] * 20
    with ThreadPoolExecutor(8) as pool:
        together = [tokens.ids.tolist() for tokens in pool.map(ours, TEXTS * 20)]
    assert together == alone


def test_padding_and_truncation_in_the_file_are_ignored(clip_tokenizer_directory: Path, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(CLIP_TOKENIZER / "tokenizer.json"))
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(BpeTokenizer(tmp_path / "tokenizer.json", 77)("a photo of a cat").ids) == 7


def test_not_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UnusableBundle, match="cannot be read as a tokenizer"):
        BpeTokenizer(tmp_path / "tokenizer.json", 77)
