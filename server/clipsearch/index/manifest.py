"""What a stored index says about itself: ``manifest.json``, checked strictly on reading."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clipsearch.errors import UnusableIndex

FORMAT_VERSION: Final = 3
MANIFEST = "manifest.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class StoredFile(_Part):
    """Size and SHA-256 of one file beside the manifest."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Recall(_Part):
    """Measured recall@k of one kind of query against exact search.

    ``met`` says whether ``recall`` reaches the target; an index that falls short is kept and says so.
    """

    k: int = Field(ge=1)
    queries: int = Field(ge=1)
    recall: float = Field(ge=0, le=1)
    met: bool


class TrainedOn(_Part):
    """What centroids and codewords were trained on: the vectors that lived at ``seq``, all of rows below ``end_row``.

    ``sample`` of them in ``iterations`` k-means steps; ``misfit`` is their mean squared distance to their centroids.
    An index of a later sequence number has taken the training over.
    """

    seq: int = Field(ge=0)
    end_row: int = Field(ge=1)
    sample: int = Field(ge=1)
    iterations: int = Field(ge=1)
    misfit: float = Field(ge=0)


class IvfPq(_Part):
    """Parameters of an IVF-PQ index; see ``rules`` for the first two and ``tuning`` for the last.

    ``nlist`` lists, ``m`` bytes per code; ``training`` is what both were trained on; ``nprobe`` lists visited per query
    and ``overfetch`` candidates re-ranked per result, as tuned.
    """

    nlist: int = Field(ge=1)
    m: int = Field(ge=1)
    training: TrainedOn
    nprobe: int = Field(ge=1)
    overfetch: float = Field(ge=1)


class IndexManifest(_Part):
    """One derived index: what it holds, how it was made, how good it is.

    ``seq`` is the catalogue's sequence number it was derived at; ``size`` vectors of ``dimension`` coordinates;
    ``model_hash`` is the weight hash of the bundle that embedded them, None where ready vectors were given.
    ``image_recall`` and ``text_recall`` are None for an exact index, where there were no such queries, and for one that
    was written in haste at a shutdown;
    ``text_origin`` says where the text queries came from.
    ``built_at`` is UTC, ISO 8601; ``build_s`` seconds.
    """

    format_version: Literal[3] = FORMAT_VERSION
    seq: int = Field(ge=0)
    kind: Literal["flat", "ivfpq"]
    metric: Literal["cosine"] = "cosine"
    size: int = Field(ge=1)
    dimension: int = Field(ge=1)
    ivfpq: IvfPq | None
    recall_target: float = Field(gt=0, le=1)
    image_recall: Recall | None
    text_recall: Recall | None
    text_origin: str | None
    model_hash: str | None
    seed: int
    faiss_version: str
    built_at: str
    build_s: float = Field(ge=0)
    files: dict[str, StoredFile]

    def bytes_per_item(self) -> dict[str, float]:
        """Return bytes per item on disk: ``rerank`` (float16 vectors), ``index`` (codes, lists), ``ids`` (and rows)."""
        sizes = {"rerank": 0, "index": 0, "ids": 0}
        for name, file in self.files.items():
            sizes[{"vectors.faiss": "rerank", "ivfpq.faiss": "index"}.get(name, "ids")] += file.bytes
        return {part: round(total / self.size, 1) for part, total in sizes.items()}


def parse_manifest(text: str, where: str) -> IndexManifest:
    """Return the manifest in ``text``; raises UnusableIndex, naming ``where`` and the first thing that is wrong."""
    try:
        manifest = IndexManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UnusableIndex(
            f"{where} is not a manifest that this version can read ({at}: {first['msg']}); build the index again"
        ) from error
    if (manifest.kind == "ivfpq") != (manifest.ivfpq is not None):
        raise UnusableIndex(f"{where} contradicts itself about the kind of index; build the index again")
    return manifest
