"""The way in: a bundle directory to everything that turns texts and pictures into vectors."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from clipsearch.encoders.manifest import Bundle, Manifest, load_bundle
from clipsearch.encoders.preprocess import ImageLimits, JpegDecoder, PillowPreprocessor
from clipsearch.encoders.runtime import RuntimeOptions, resolve_device
from clipsearch.encoders.tokenizer import BpeTokenizer
from clipsearch.encoders.towers import OnnxImageEncoder, OnnxTextEncoder
from clipsearch.errors import DeviceUnavailable, OutOfMemory

SMALL_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Encoders:
    """One bundle, loaded."""

    manifest: Manifest
    tokenizer: BpeTokenizer
    preprocessor: PillowPreprocessor
    text: OnnxTextEncoder
    image: OnnxImageEncoder
    device: Literal["cpu", "cuda"]
    """Where the towers run, ``auto`` resolved."""
    small: bool
    """Whether a run costs little more than handing it to a thread: bundles under 32 MiB."""

    def warm_up(self) -> None:
        """Run both towers on representative shapes; raises ComputeFailed where an answer is unusable."""
        self.text.warm_up()
        self.image.warm_up()

    def take_memory(self, text_tokens: int, pictures: int) -> None:
        """Run batches of so many tokens and pictures, so that a GPU's memory for them is held from now on.

        Of texts, what is added to reach a size whose launch is captured may take more than that.
        Raises DeviceUnavailable where there is too little, and ComputeFailed where an answer is unusable.
        """
        try:
            self.text.warm_up((max(1, text_tokens // self.text.context_length),))
            self.image.warm_up((pictures,))
        except OutOfMemory as error:
            raise DeviceUnavailable(
                f"Batches of {text_tokens} tokens and of {pictures} pictures do not fit into the GPU's memory; lower "
                "text_batch_tokens and image_batch_items, or raise gpu_tower_mib if it is set."
            ) from error


def load_encoders(
    directory: str | Path,
    options: RuntimeOptions | None = None,
    limits: ImageLimits | None = None,
) -> Encoders:
    """Check a bundle's files and load it; seconds for a large model, so not on an event loop.

    Raises UnusableBundle where the bundle cannot be trusted and DeviceUnavailable where the device cannot be had.
    """
    return encoders_of(load_bundle(directory), options, limits)


def encoders_of(
    bundle: Bundle,
    options: RuntimeOptions | None = None,
    limits: ImageLimits | None = None,
    jpegs: JpegDecoder | None = None,
) -> Encoders:
    """Load a bundle whose files have been checked; raises as ``load_encoders`` does.

    ``jpegs`` is what the preprocessor has decode JPEGs before Pillow does.
    """
    manifest = bundle.manifest
    options = options or RuntimeOptions()
    small = sum(file.stat().st_size for file in bundle.path.iterdir() if file.name in manifest.files) < SMALL_BYTES
    if small:
        options = replace(options, lone_threads=options.threads)
    return Encoders(
        manifest=manifest,
        tokenizer=BpeTokenizer.of(bundle),
        preprocessor=PillowPreprocessor(manifest.preprocess, manifest.image_size, limits, jpegs=jpegs),
        text=OnnxTextEncoder(bundle, options),
        image=OnnxImageEncoder(bundle, options),
        device=resolve_device(options.device, manifest.precision),
        small=small,
    )
