"""Fixtures of the encoder tests."""

from pathlib import Path

import pytest

from tests.unit.encoders.helpers import CLIP_TOKENIZER, manifest_for


@pytest.fixture
def bundle_directory(tmp_path: Path) -> Path:
    """A bundle whose files match its manifest; what is in them is not ONNX."""
    directory = tmp_path / "bundle"
    directory.mkdir()
    for name in ("tokenizer.json", "text.onnx", "text.weights", "image.onnx", "image.weights"):
        (directory / name).write_text(f"the bytes of {name}")
    (directory / "manifest.json").write_text(manifest_for(directory).to_json())
    return directory


@pytest.fixture(scope="session")
def clip_tokenizer_directory() -> Path:
    """CLIP's published vocabulary."""
    if not (CLIP_TOKENIZER / "tokenizer.json").is_file():
        pytest.skip("CLIP's published vocabulary is not beside the repository, at ../shared/data/clip_tokenizer")
    return CLIP_TOKENIZER
