"""Text to token ids by the Rust ``tokenizers``, equal to the checkpoint's own tokenizer.

One call per request, on the event loop: about 25 µs for a query of ten words, all of it inside Rust, which is less
than handing it to a thread would cost. Padding and truncation are switched off there: padding belongs to the batch, and
cutting the list here is what tells the caller that something was cut.
"""

from pathlib import Path

import numpy as np
import tokenizers

from clipsearch.encoders.manifest import Bundle
from clipsearch.errors import UnusableBundle
from clipsearch.ports import Tokens


class BpeTokenizer:
    """The tokenizer of a bundle; see ``ports.Tokenizer``. Thread-safe, as the Rust object is never changed again."""

    def __init__(self, path: Path, context_length: int) -> None:
        """Load a ``tokenizer.json``; raises UnusableBundle where the file is not one.

        ``context_length`` counts tokens, begin and end included.
        """
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as exc:  # the binding raises bare Exception and nothing else
            raise UnusableBundle(f"{path} cannot be read as a tokenizer: {exc}.") from exc
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.context_length = context_length

    @classmethod
    def of(cls, bundle: Bundle) -> "BpeTokenizer":
        """Load the tokenizer of a checked bundle."""
        return cls(bundle.tokenizer, bundle.manifest.context_length)

    def __call__(self, text: str) -> Tokens:
        """Tokenise one text to int64 ids; over-long texts keep their first tokens and the end token, as CLIP does.

        Lone surrogates, which UTF-8 cannot carry and so cannot come over the wire, raise UnicodeEncodeError.
        """
        ids = self._tokenizer.encode(text).ids
        truncated = len(ids) > self.context_length
        if truncated:
            ids = [*ids[: self.context_length - 1], ids[-1]]
        return Tokens(ids=np.array(ids, dtype=np.int64), truncated=truncated)
