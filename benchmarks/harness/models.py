"""Models and indexes to measure, made once and kept in the work directory under a fingerprint of what made them."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GEOMETRY = "vit-b-32"
TOKENIZER = ROOT.parent / "shared" / "data" / "clip_tokenizer"
GRAPH_MODULES = ("bundle", "checkpoint", "graph", "linear", "towers")
"""The exporter's modules that decide what a bundle computes; its gate and command line do not."""

SAMPLE_BUNDLE = ROOT / "demo" / "clipsearch_demo" / "model" / "bundle"


class MissingInput(Exception):
    """Something that the benchmark needs is not there; the message says what and how to name it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The sample model and a data directory with the sample catalogue, indexed."""

    bundle: Path
    data: Path
    catalogue: Path


def fingerprint(texts: Sequence[str], files: Iterable[Path] = ()) -> str:
    """Return 12 hex digits that change with any of the texts and with the name or content of any file."""
    digest = hashlib.sha256(repr(list(texts)).encode())
    for path in sorted(files):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return digest.hexdigest()[:12]


def random_bundle(work: Path, precision: str, seed: int, tokenizer: Path) -> Path:
    """Return the bundle of a seeded random checkpoint of ViT-B/32 geometry; minutes the first time, then kept."""
    checkpoint = random_checkpoint(work, seed, tokenizer)
    exporter = [ROOT / "export" / "clipsearch_export" / f"{module}.py" for module in GRAPH_MODULES]
    name = f"{GEOMETRY}-{precision}-{fingerprint([checkpoint.name, precision], exporter)}"
    command = [*_clipsearch(), "export", str(checkpoint), "--precision", precision]
    return _made(work / name, [*command, "--out"])


def sample(work: Path, bundle: Path, items: int, seed: int) -> Sample:
    """Draw the sample catalogue of ``items`` pictures and index it with ``bundle``; both are kept."""
    from clipsearch_demo.catalogue.write import write_catalogue

    manifest = bundle / "manifest.json"
    if not manifest.is_file():
        raise MissingInput(f"{bundle} is no bundle; name one with --bundle")
    catalogue = work / f"catalogue-{items}-{seed}"
    write_catalogue(catalogue, items, seed)
    name = f"data-{fingerprint([], [manifest, catalogue / 'catalogue.json'])}"
    command = [*_clipsearch(), "index", "build", str(catalogue / "images"), "--bundle", str(bundle)]
    command += ["--metadata", str(catalogue / "metadata.jsonl"), "--device", "cpu"]
    return Sample(bundle, _made(work / name, [*command, "--out"], inside="default"), catalogue)


def of_vectors(work: Path, vectors: Path, bundle: Path, device: str) -> Path:
    """Return a data directory with the rows of an .npy file, indexed for a bundle; made once, then kept."""
    name = f"data-of-{vectors.stem}-{fingerprint([vectors.name], [bundle / 'manifest.json'])}"
    command = [*_clipsearch(), "index", "build", str(vectors), "--bundle", str(bundle), "--device", device]
    return _made(work / name, [*command, "--out"], inside="default")


def random_checkpoint(work: Path, seed: int, tokenizer: Path) -> Path:
    """Return a seeded random checkpoint of ViT-B/32 geometry, as transformers loads it; made once, then kept."""
    vocabulary = tokenizer / "tokenizer.json"
    if not vocabulary.is_file():
        raise MissingInput(f"{tokenizer} holds no tokenizer.json; name CLIP's tokenizer directory with --tokenizer")
    script = ROOT / "benchmarks" / "random_checkpoint.py"
    name = f"{GEOMETRY}-checkpoint-{fingerprint([GEOMETRY, str(seed)], [script, vocabulary])}"
    command = [sys.executable, str(script), GEOMETRY, "--seed", str(seed), "--tokenizer", str(tokenizer)]
    return _made(work / name, [*command, "--out"])


def _made(target: Path, command: Sequence[str], inside: str = "") -> Path:
    """Run ``command`` with a scratch path as its last argument and move what it wrote to ``target``, once.

    ``inside`` names a sub-directory of it for the command to write to.

    What other fingerprints left behind goes: these are hundreds of MB each.
    """
    if target.exists():
        return target
    scratch = target.with_name(f"{target.name}.partial")
    if scratch.exists():
        shutil.rmtree(scratch)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Its table of parity is for who exports by hand; errors and progress go to stderr.
    subprocess.run([*command, str(scratch / inside)], check=True, stdout=subprocess.DEVNULL)
    for older in target.parent.glob(f"{target.name.rpartition('-')[0]}-*"):
        if len(older.name) == len(target.name):
            shutil.rmtree(older)
    scratch.rename(target)
    return target


def _clipsearch() -> list[str]:
    return [sys.executable, "-m", "clipsearch"]
