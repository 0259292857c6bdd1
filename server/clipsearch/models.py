"""The models of a server: loaded from bundles, wired to lanes and collections, and gone when nobody holds them."""

import logging
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from clipsearch.data import DataDirectory
from clipsearch.decoding import Decoding, image_limits
from clipsearch.encoders.cuda import padded_rows
from clipsearch.encoders.load import Encoders, encoders_of
from clipsearch.encoders.manifest import Bundle, Manifest, load_bundle
from clipsearch.encoders.runtime import RuntimeOptions, TensorRt
from clipsearch.gpu_plan import check_fits
from clipsearch.lanes import batch_sizes, encoder_threads, lone_threads
from clipsearch.services.build_report import Report
from clipsearch.services.searcher import Searcher
from clipsearch.services.serving import Model, ModelFacts, Serving
from clipsearch.settings import MIB, Settings

logger = logging.getLogger(__name__)

STEPS = 3
"""Of a load: the files checked, loaded, and run once."""


class Models:
    """Holds what serves. It may be changed on any thread, by one at a time."""

    def __init__(
        self,
        settings: Settings,
        decoding: Decoding,
        data: Callable[[Encoders], DataDirectory | None],
        searcher: Callable[[DataDirectory], Searcher],
        adapt: Callable[[DataDirectory, Encoders], None],
    ) -> None:
        """Load the model of the settings, not warmed; ``data`` opens the collections for it.

        ``searcher`` searches them, and ``adapt`` tells them of encoders that replace others of the same weights.
        Raises UnusableBundle, DeviceUnavailable, UnusableIndex or ConfigError.
        """
        self._settings, self._decoding, self._adapt = settings, decoding, adapt
        self.encoders = self._load(self.find(None), settings.data)
        """Those of the model that serves now."""
        opened = data(self.encoders)
        self.serving = Serving(self.wired(self.encoders, opened, None if opened is None else searcher(opened)))

    def find(self, bundle: Path | None) -> Bundle:
        """Check the files of a bundle, None for the one in the settings; raises UnusableBundle."""
        return load_bundle(_real(bundle or self._settings.bundle))

    def load(self, bundle: Bundle, report: Report) -> Encoders:
        """Load a bundle beside what serves and run it once.

        Raises UnusableBundle, DeviceUnavailable or ComputeFailed where it cannot serve, and what ``report`` raises.
        """
        report("loading", 1, STEPS)
        encoders = self._load(bundle)
        report("warming", 2, STEPS)
        encoders.warm_up()
        report("warming", STEPS, STEPS)
        return encoders

    def replace(self, encoders: Encoders) -> Model:
        """Serve with other encoders of the same weights from now on."""
        before = self.serving.model
        model = self.wired(encoders, before.data, before.searcher)
        if before.data is not None:
            self._adapt(before.data, encoders)
        self.serve(encoders, model)
        return model

    def serve(self, encoders: Encoders, model: Model) -> None:
        """Serve this model from now on."""
        before, self.encoders, self.serving.model = self.serving.model, encoders, model
        logger.info("serving %s instead of %s", _told(model.facts), _told(before.facts))

    def _load(self, bundle: Bundle, data: Path | None = None) -> Encoders:
        """Load a bundle; ``data`` has the collections that are to be opened next, if any."""
        settings = self._settings
        check_fits(settings, bundle, data)
        options = RuntimeOptions(
            device=settings.device,
            threads=encoder_threads(settings),
            lone_threads=lone_threads(settings),
            gpu_memory=settings.gpu_tower_mib * MIB,
            tensorrt=self._tensorrt(),
        )
        encoders = encoders_of(bundle, options, image_limits(settings), self._decoding.jpegs)
        if encoders.device == "cuda":
            # Before an index takes a share of what is free.
            sizes = batch_sizes(settings, encoders.device, small=encoders.small)
            encoders.take_memory(sizes.text_tokens, sizes.image_items)
        return encoders

    def _tensorrt(self) -> TensorRt | None:
        settings = self._settings
        if settings.tensorrt_engines is None:
            return None
        pictures = batch_sizes(settings, "cuda", small=False).image_items
        return TensorRt(settings.tensorrt_engines, padded_rows(settings.text_batch_items), padded_rows(pictures))

    def wired(self, encoders: Encoders, data: DataDirectory | None, searcher: Searcher | None) -> Model:
        """Return the model of encoders; raises ConfigError where the processes that decode for it do not start."""
        model = Model(
            facts=_facts(encoders.manifest),
            tokenizer=encoders.tokenizer,
            preprocessor=self._decoding.take(encoders),
            text=encoders.text,
            image=encoders.image,
            data=data,
            searcher=searcher,
        )
        # The last to hold a model may be the event loop, which has better things to do than to free its weights.
        weakref.finalize(model, self._retire, encoders).atexit = False
        return model

    def _retire(self, encoders: Encoders) -> None:
        threading.Thread(target=self._end, args=(encoders,), name="retired-model", daemon=True).start()

    def _end(self, encoders: Encoders) -> None:
        self._decoding.give_back(encoders)
        logger.info("no call holds the model %s, %s any more", encoders.manifest.source, encoders.manifest.precision)


def _real(bundle: Path) -> Path:
    """Follow links once: one that is moved meanwhile must not give half of one bundle and half of another."""
    return Path(os.path.realpath(bundle))


def _told(facts: ModelFacts) -> str:
    return f"{facts.source}, {facts.precision}, weights {facts.weight_hash[:12]}"


def _facts(manifest: Manifest) -> ModelFacts:
    return ModelFacts(
        source=manifest.source,
        weight_hash=manifest.weight_hash,
        dimension=manifest.dimension,
        context_length=manifest.context_length,
        image_size=manifest.image_size,
        precision=manifest.precision,
        logit_scale=manifest.logit_scale,
    )
