"""The last step of a build: the index, derived from the catalogue, tuned for pictures and for texts."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.errors import EmbeddingDamaged, InvalidInput, UnusableIndex, WrongDimension
from clipsearch.index.build import IndexOptions, IndexSource, build_index
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Kind, Training, choose_kind
from clipsearch.index.storage import Device, check_files, read_manifest, snapshot_path
from clipsearch.ports import Rows, TextEncoder, Tokenizer, Vectors
from clipsearch.services.build_report import RejectLog, Rejects, Report, Tally
from clipsearch.services.build_vectors import unit_rows

TEXT_FIELDS = ("description", "title", "caption", "name")
"""Metadata fields that stand in for what people type, the first that an item has."""

TEXT_QUERIES = 1000
"""Texts tuned and measured with, half of them for each."""

_BATCH = 32

_READ_BLOCK = 4096
"""Rows read from the catalogue at once."""


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


def metadata_queries(reader: CatalogueReader, embed: TextEmbedder, seed: int, report: Report) -> TextQueries | None:
    """Texts of the items' own metadata as queries to tune with; None where there are none."""
    texts = sample_texts(reader, seed)
    return TextQueries("metadata", functools.partial(embed, texts, report)) if texts else None


@dataclass(frozen=True, slots=True)
class Derivation:
    """Derives the index of a collection beside serving, on ``threads`` and maybe a GPU, tuned with its own texts."""

    embed: TextEmbedder
    threads: int
    recall_target: float
    device: Device = "cpu"

    def __call__(self, directory: Path, reader: CatalogueReader, report: Report, training: Training) -> IndexManifest:
        """Derive it of the catalogue as it stands; raises as ``derive_index`` does."""
        options = IndexOptions(
            recall_target=self.recall_target, threads=self.threads, training=training, device=self.device
        )
        with RejectLog(directory, Tally()) as rejects:
            queries = metadata_queries(reader, self.embed, options.seed, report)
            return derive_index(directory, reader, queries=queries, options=options, report=report, rejects=rejects)[0]


def derive_index(
    collection: Path,
    reader: CatalogueReader,
    *,
    queries: TextQueries | None,
    options: IndexOptions,
    report: Report,
    rejects: Rejects,
) -> tuple[IndexManifest, bool]:
    """Make the index of a catalogue as it stands; returns its manifest, and whether it had to be built.

    It holds the rows that live; those whose embedding is damaged are listed in ``rejects``. An index that is whole and
    was made of the same catalogue with the same options is kept. Raises InvalidInput where the catalogue is empty.
    """
    live = reader.live_rows()
    if len(live.rows) == 0:
        raise InvalidInput("there is no usable item in the source, so there is nothing to index", field="source")
    kind = choose_kind(len(live.rows), options.kind)
    tuned_by = queries if kind is Kind.IVFPQ else None
    origin = None if tuned_by is None else tuned_by.origin
    kept = _up_to_date(snapshot_path(collection, live.seq), kind, options, origin)
    if kept is not None:
        return kept, False
    rows = _intact(reader, live.rows, report, rejects)
    source = IndexSource(
        rows=rows,
        dimension=reader.dimension,
        blocks=_vectors(reader, rows),
        ids=(item_id for some in _blocks(rows) for item_id in reader.ids(some.tolist())),
        seq=live.seq,
        model_hash=reader.model_hash,
        text_queries=None if tuned_by is None or options.training is Training.NEVER else tuned_by.load(),
        text_origin=origin,
    )
    return build_index(collection, source, options, report), True


def _intact(reader: CatalogueReader, rows: Rows, report: Report, rejects: Rejects) -> Rows:
    """Return the rows whose embeddings can be trusted: an index must know how many it holds before it is written."""
    intact, read = [], 0
    report("reading", read, len(rows))
    for some in _blocks(rows):
        found = reader.embeddings(some)
        intact.append(found.rows)
        for item_id in reader.ids(found.damaged.tolist()):
            rejects.add(item_id, EmbeddingDamaged.reason, "the stored embedding does not match its checksum")
        read += len(some)
        report("reading", read, len(rows))
    if not any(map(len, intact)):
        raise UnusableIndex("every embedding in the catalogue is damaged; restore a backup or build it anew")
    return np.concatenate(intact)


def _vectors(reader: CatalogueReader, rows: Rows) -> Iterator[NDArray[np.float16]]:
    for some in _blocks(rows):
        found = reader.embeddings(some)
        if len(found.damaged):
            raise UnusableIndex(f"the embedding of row {found.damaged[0]} was damaged while it was being read")
        yield found.vectors


def _blocks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), _READ_BLOCK):
        yield rows[start : start + _READ_BLOCK]


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
    if made != (kind.value, options.recall_target, options.seed, text_origin):
        return None
    return manifest if _as_trained(manifest, options.training) else None


def _as_trained(manifest: IndexManifest, training: Training) -> bool:
    """Whether an index was trained, and measured, as is asked for."""
    if manifest.ivfpq is None or training is Training.NEVER:
        return True
    if training is Training.ALWAYS:
        return manifest.ivfpq.training.seq == manifest.seq
    return manifest.image_recall is not None or manifest.size == 1


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


def sample_texts(reader: CatalogueReader, seed: int) -> list[str]:
    """Return up to ``TEXT_QUERIES`` distinct texts from the metadata of random items, in random order."""
    rows = np.random.default_rng(seed).permutation(reader.live_rows().rows)[: 4 * TEXT_QUERIES]
    texts: dict[str, None] = {}
    for metadata in reader.metadata(rows.tolist()):
        text = next((value for name in TEXT_FIELDS if isinstance(value := metadata.get(name), str) and value), None)
        if text is not None and text.strip():
            texts[text] = None
    return list(texts)[:TEXT_QUERIES]
