"""The last step of a build: the index, derived from the catalogue, tuned for pictures and for texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import InvalidInput, UnusableIndex, WrongDimension
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Kind, choose_kind
from clipsearch.index.storage import check_files, read_manifest, snapshot_path
from clipsearch.ports import TextEncoder, Tokenizer, Vectors
from clipsearch.services.build_report import Report, Tally
from clipsearch.services.build_vectors import unit_rows

TEXT_FIELDS = ("description", "title", "caption", "name")
"""Metadata fields that stand in for what people type, the first that an item has."""

TEXT_QUERIES = 1000
"""Texts tuned and measured with, half of them for each."""

_BATCH = 32


@dataclass(frozen=True, slots=True)
class TextEmbedder:
    """The text side of a bundle."""

    tokenizer: Tokenizer
    encoder: TextEncoder

    def __call__(self, texts: Sequence[str], report: Report) -> Vectors:
        """Embed texts, float32 [n, dimension], in batches of like length."""
        tokens = [self.tokenizer(text).ids for text in texts]
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        vectors = np.empty((len(tokens), self.encoder.dimension), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            vectors[some] = self.encoder.encode([tokens[i] for i in some])
            report("texts", start + len(some), len(order))
        return vectors


@dataclass(frozen=True, slots=True)
class TextQueries:
    """Text queries to tune with: ``origin`` names them in the manifest, ``load`` gives them where they are needed."""

    origin: str
    load: Callable[[], Vectors]


def derive_index(
    collection: Path,
    writer: CatalogueWriter,
    *,
    queries: TextQueries | None,
    options: IndexOptions,
    report: Report,
) -> tuple[IndexManifest, bool]:
    """Make the index of a catalogue as it stands; returns its manifest, and whether it had to be built.

    An index that is whole and was made of the same catalogue with the same options is kept. Raises InvalidInput where
    the catalogue is empty.
    """
    n = writer.count
    if n == 0:
        raise InvalidInput("there is no usable item in the source, so there is nothing to index", field="source")
    kind = choose_kind(n, options.kind)
    tuned_by = queries if kind is Kind.IVFPQ else None
    origin = None if tuned_by is None else tuned_by.origin
    kept = _up_to_date(snapshot_path(collection, writer.seq), kind, options, origin)
    if kept is not None:
        return kept, False
    source = IndexSource(
        n=n,
        dimension=writer.dimension,
        blocks=writer.embeddings(),
        ids=writer.ids(),
        seq=writer.seq,
        model_hash=writer.model_hash,
        text_queries=None if tuned_by is None else tuned_by.load(),
        text_origin=origin,
    )
    return build_index(collection, source, options, report), True


def _up_to_date(path: Path, kind: Kind, options: IndexOptions, text_origin: str | None) -> IndexManifest | None:
    if not path.is_dir():
        return None
    try:
        manifest = read_manifest(path)
        check_files(path, manifest, hashes=True)
    except UnusableIndex:
        # Whatever is wrong with it, building it again is the cure.
        return None
    made = (manifest.kind, manifest.recall_target, manifest.seed, manifest.text_origin)
    return manifest if made == (kind.value, options.recall_target, options.seed, text_origin) else None


def read_queries(path: Path, dimension: int, embed: TextEmbedder | None, report: Report) -> Vectors:
    """Return text queries from a file: ``.npy`` of vectors [q, dimension], or else lines of text to embed.

    Raises InvalidInput where the file is neither, or holds texts and there is no bundle to embed them with.
    """
    if path.suffix.lower() == ".npy":
        try:
            vectors = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise InvalidInput(f"{path} is not a readable .npy file: {error}", field="text_queries") from error
        if vectors.ndim != 2 or vectors.shape[1] != dimension:
            raise WrongDimension(f"{path} holds an array of shape {vectors.shape}, not [q, {dimension}]")
        units, errors = unit_rows(vectors, Tally())
        return units[[error is None for error in errors]]
    if embed is None:
        raise InvalidInput(f"{path} holds texts, which need a bundle to embed them", field="text_queries")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text: {error}", field="text_queries") from error
    return embed([line.strip() for line in lines if line.strip()], report)


def sample_texts(collection: Path, count: int, seed: int) -> list[str]:
    """Return up to ``TEXT_QUERIES`` distinct texts from the metadata of random items, in random order."""
    rows = np.random.default_rng(seed).permutation(count)[: 4 * TEXT_QUERIES]
    texts: dict[str, None] = {}
    with CatalogueReader(collection) as reader:
        for metadata in reader.metadata(rows.tolist()):
            text = next((value for name in TEXT_FIELDS if isinstance(value := metadata.get(name), str) and value), None)
            if text is not None and text.strip():
                texts[text] = None
    return list(texts)[:TEXT_QUERIES]
