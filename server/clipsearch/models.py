"""The model that serves and how it is replaced: loaded and warmed beside the one that serves, then put in its place.

Calls that began with the old model end with it (see ``services.serving``), so nothing is refused, dropped or mixed, and
whatever goes wrong with a new bundle leaves everything as it was. Two models are in memory meanwhile. The old one's
sessions end when the last call that holds it is over.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from clipsearch.data import DataDirectory
from clipsearch.decoding import Decoding, image_limits
from clipsearch.encoders.load import Encoders, encoders_of
from clipsearch.encoders.manifest import Bundle, Manifest, load_bundle
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.errors import OtherModel
from clipsearch.lanes import encoder_threads, lone_threads
from clipsearch.services.build_report import Report
from clipsearch.services.model_jobs import Reloaded
from clipsearch.services.searcher import Searcher
from clipsearch.services.serving import Model, ModelFacts, Serving
from clipsearch.settings import Settings

logger = logging.getLogger(__name__)

STEPS = 3
"""Checking the files, loading them, and the first runs."""


class Models:
    """Holds what serves. ``reload`` may be called from any thread, by one at a time."""

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
        self.encoders = self._load(load_bundle(_real(settings.bundle)))
        """Those of the model that serves now."""
        opened = data(self.encoders)
        self.serving = Serving(self._wired(self.encoders, opened, None if opened is None else searcher(opened)))

    def reload(self, bundle: Path | None, report: Report) -> Reloaded:
        """Put the model of a bundle, None for the one in the settings, in the place of the one that serves.

        Nothing happens where it is that one. Raises UnusableBundle, DeviceUnavailable or ComputeFailed where it cannot
        serve, OtherModel where a collection holds vectors of other weights, and what ``report`` raises.
        """
        before = self.serving.model
        report("checking", 0, STEPS)
        found = load_bundle(_real(bundle or self._settings.bundle))
        if found.manifest == self.encoders.manifest:
            logger.info("the bundle is the one that serves, so nothing is swapped")
            return Reloaded(before.facts, before.facts, swapped=False)
        self._check_collections(before, found.manifest)
        report("loading", 1, STEPS)
        encoders = self._load(found)
        report("warming", 2, STEPS)
        encoders.warm_up()
        report("warming", STEPS, STEPS)
        model = self._wired(encoders, before.data, before.searcher)
        if before.data is not None:
            self._adapt(before.data, encoders)
        self.encoders, self.serving.model = encoders, model
        logger.info(
            "serving %s, %s, weights %s, instead of %s, %s",
            model.facts.source,
            model.facts.precision,
            model.weight_hash[:12],
            before.facts.source,
            before.facts.precision,
        )
        return Reloaded(before.facts, model.facts, swapped=True)

    def _check_collections(self, before: Model, wanted: Manifest) -> None:
        names = [] if before.data is None else before.data.made_by_others(wanted.weight_hash, wanted.dimension)
        if names:
            raise OtherModel(
                f"the collections {', '.join(names)} hold vectors of the weights {before.weight_hash[:12]}, and this "
                f"bundle has the weights {wanted.weight_hash[:12]}: embed them anew with `clipsearch reembed`",
                metadata={
                    "collections": ",".join(names),
                    "weight_hash": before.weight_hash,
                    "bundle_weight_hash": wanted.weight_hash,
                },
            )

    def _load(self, bundle: Bundle) -> Encoders:
        settings = self._settings
        options = RuntimeOptions(
            device=settings.device, threads=encoder_threads(settings), lone_threads=lone_threads(settings)
        )
        return encoders_of(bundle, options, image_limits(settings))

    def _wired(self, encoders: Encoders, data: DataDirectory | None, searcher: Searcher | None) -> Model:
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
