"""The composition root of the offline build: from what a person asks for to a collection directory."""

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.encoders.load import Encoders, load_encoders
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.errors import InvalidInput, UnusableIndex
from clipsearch.index.build import IndexOptions
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.threads import available_cores
from clipsearch.services.build import Build
from clipsearch.services.build_index import (
    TextEmbedder,
    TextQueries,
    derive_index,
    metadata_queries,
    read_queries,
)
from clipsearch.services.build_pictures import Embedder
from clipsearch.services.build_report import RejectLog, Report, Tally
from clipsearch.services.build_source import vectors_opener
from clipsearch.services.build_vectors import VectorSource, check_model


@dataclass(frozen=True, slots=True)
class Request:
    """What to build: see the options of ``clipsearch index build``. ``threads`` 0 is one per core."""

    source: Path
    out: Path
    bundle: Path | None = None
    metadata: Path | None = None
    text_queries: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: the tally of the source, the index, whether it had to be built, and items not in the source."""

    tally: Tally
    manifest: IndexManifest
    rebuilt: bool
    kept: int


def build_offline(request: Request, options: IndexOptions, report: Report) -> Outcome:
    """Fill the catalogue of ``request.out`` from the source and derive its index.

    Raises InvalidInput for a source or an option that makes no sense, WrongModel, UnusableBundle, DeviceUnavailable,
    and UnusableIndex where the directory holds something that this source must not be mixed with.
    """
    encoders = None
    if request.bundle is not None:
        encoders = load_encoders(request.bundle, RuntimeOptions(device=request.device, threads=request.threads))
    return build_with(encoders, request, options, report)


def build_with(encoders: Encoders | None, request: Request, options: IndexOptions, report: Report) -> Outcome:
    """Do as ``build_offline`` with encoders that are loaded already, None for ready vectors."""
    tally = Tally()
    with _sources(request, encoders, tally) as (rejects, vectors, dimension):
        model_hash = None if encoders is None else encoders.manifest.weight_hash
        with CatalogueWriter(request.out, dimension, model_hash) as writer:
            build = Build(writer, rejects, tally, report)
            if vectors is not None:
                build.vectors(vectors)
            elif encoders is not None:
                threads = request.threads or available_cores()
                embedder = Embedder(encoders.preprocessor, encoders.image, threads=threads)
                build.pictures(request.source, request.metadata, embedder)
            # While the writer holds the lock, so that nobody changes what is being indexed.
            with CatalogueReader(request.out) as reader:
                queries = _queries(request, encoders, reader, options, report)
                manifest, rebuilt = derive_index(
                    request.out, reader, queries=queries, options=options, report=report, rejects=rejects
                )
                return Outcome(tally, manifest, rebuilt, reader.counts().live - tally.accepted)


@contextmanager
def _sources(
    request: Request, encoders: Encoders | None, tally: Tally
) -> Iterator[tuple[RejectLog, VectorSource | None, int]]:
    """Open the source; gives the reject log, the vectors (None for pictures) and the dimension."""
    opener = vectors_opener(request.source)
    if opener is None:
        if encoders is None:
            raise InvalidInput("a directory of pictures needs --bundle to embed them with", field="bundle")
        with RejectLog(request.out, tally) as rejects:
            yield rejects, None, encoders.manifest.dimension
        return
    with RejectLog(request.out, tally) as rejects:
        vectors = opener(request.source, request.metadata, rejects, tally)
        if encoders is not None and encoders.manifest.dimension != vectors.dimension:
            raise UnusableIndex(
                f"{request.source} holds vectors of dimension {vectors.dimension}, the bundle makes "
                f"{encoders.manifest.dimension}"
            )
        if encoders is not None:
            check_model(request.source, vectors, encoders.manifest.weight_hash)
        yield rejects, vectors, vectors.dimension


def _queries(
    request: Request, encoders: Encoders | None, reader: CatalogueReader, options: IndexOptions, report: Report
) -> TextQueries | None:
    """Text queries: those given, or else texts of the items' own metadata where a bundle can embed them."""
    embed = None if encoders is None else TextEmbedder(encoders.tokenizer, encoders.text)
    path = request.text_queries
    if path is not None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        load = functools.partial(read_queries, path, reader.dimension, embed, report)
        return TextQueries(f"{path.name} (SHA-256 {digest[:12]})", load)
    if embed is None:
        return None
    return metadata_queries(reader, embed, options.seed, report)
