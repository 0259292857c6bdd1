"""Replacing the model that serves, beside serving.

A bundle is checked, loaded and run once beside the model that serves, and then put in its place by one assignment.
Calls that began with the old model end with it (see ``services.serving``), so nothing is refused, dropped or mixed,
and whatever goes wrong with a new bundle leaves everything as it was. Two models are in memory meanwhile.

Vectors of other weights do not compare, so a model of other weights needs collections of its own: it is *staged*, which
gives it empty ones, whoever has the pictures and texts brings them there, and it is *promoted* when nothing is missing.
What is written meanwhile is written to both (see ``services.mirror``). The alternative is a second server with a data
directory of its own, which takes a second machine, or room for a second everything, and loses what is written between
the copy and the switch.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clipsearch import succession
from clipsearch.data import DataDirectory
from clipsearch.disk import appearing, disk_errors
from clipsearch.encoders.load import Encoders
from clipsearch.encoders.manifest import Bundle, Manifest
from clipsearch.errors import (
    CollectionsIncomplete,
    InvalidInput,
    ModelNotStaged,
    ModelStaged,
    NoIndex,
    OtherModel,
    RebuildRunning,
    UnusableIndex,
)
from clipsearch.models import STEPS, Models
from clipsearch.services.build_report import Report
from clipsearch.services.model_jobs import Promoted, PromotedCollection, Reloaded, Staged
from clipsearch.services.searcher import Searcher
from clipsearch.services.serving import Model
from clipsearch.takeover import Takeover

logger = logging.getLogger(__name__)

_BEGAN = "staging.json"

TOLD = 10
"""Missing items whose ids an error lists; all are counted."""


class ModelSwap:
    """The jobs. Each is called on a thread of its own, one at a time."""

    def __init__(
        self,
        models: Models,
        open_data: Callable[[Path, Encoders], DataDirectory],
        searcher: Callable[[DataDirectory], Searcher],
    ) -> None:
        """``open_data`` opens the collections of a directory for encoders, and ``searcher`` searches them."""
        self._models, self._open_data, self._searcher = models, open_data, searcher
        self._serving = models.serving
        self._staged: Encoders | None = None

    def reload(self, bundle: Path | None, report: Report) -> Reloaded:
        """Put the model of a bundle, None for the one in the settings, in the place of the one that serves.

        Nothing happens where it is that one. Raises UnusableBundle, DeviceUnavailable or ComputeFailed where it cannot
        serve, OtherModel where a collection holds items of other weights, and what ``report`` raises.
        """
        before = self._serving.model
        report("checking", 0, STEPS)
        found = self._models.find(bundle)
        if found.manifest == self._models.encoders.manifest:
            logger.info("the bundle is the one that serves, so nothing is swapped")
            return Reloaded(before.facts, before.facts, swapped=False)
        if not _foreign(before.data, found.manifest):
            after = self._models.replace(self._models.load(found, report))
            return Reloaded(before.facts, after.facts, swapped=True)
        _check_empty(before, found.manifest)
        self._stage(found, report)
        return Reloaded(before.facts, self.promote(report, allow_missing=False).after, swapped=True)

    def stage(self, bundle: Path | None, report: Report) -> Staged:
        """Load a model of other weights beside the one that serves, with collections of its own.

        Goes on with what an earlier run has left of the same weights. Raises as ``reload`` does, NoIndex, ModelStaged,
        and InvalidInput for weights that serve already.
        """
        report("checking", 0, STEPS)
        found = self._models.find(bundle)
        data = self._serving.model.data
        if data is None:
            raise NoIndex("this server was started without a data directory")
        if not _foreign(data, found.manifest):
            raise InvalidInput("the collections are of these weights already: reload the bundle", field="bundle")
        model = self._stage(found, report)
        assert model.data is not None, "it was staged with some"
        return Staged(model.facts, model.data.names())

    def _stage(self, found: Bundle, report: Report) -> Model:
        before = self._serving.model
        assert before.data is not None, "asked for collections that are not of a model"
        if self._serving.staged is not None:
            raise ModelStaged("a model is staged already: promote or unstage it first")
        encoders = self._models.load(found, report)
        try:
            data = self._open_data(succession.staged_root(before.data.root), encoders)
        except UnusableIndex as error:
            raise ModelStaged(f"another model was staged: unstage it first ({error.message})") from error
        try:
            _note_beginning(before.data, data)
            _same_names(before.data, data)
            model = self._models.wired(encoders, data, self._searcher(data))
        except BaseException:
            data.close()
            raise
        self._staged, self._serving.staged = encoders, model
        logger.info("staged %s, weights %s", model.facts.source, model.weight_hash[:12])
        return model

    def promote(self, report: Report, *, allow_missing: bool) -> Promoted:
        """Serve the staged model and its collections from now on; the old ones are done with.

        Raises ModelNotStaged, CollectionsIncomplete unless ``allow_missing``, StorageFull, StorageFailed, and what
        ``report`` raises.
        """
        before, staged, encoders = self._serving.model, self._serving.staged, self._staged
        if staged is None or encoders is None:
            raise ModelNotStaged("no model is staged")
        old, new = before.data, staged.data
        assert old is not None, "a model is staged only where there are collections"
        assert new is not None, "it was staged with some"
        _same_names(old, new)
        takeovers = _takeovers(old, new)
        for takeover in takeovers.values():
            takeover.catch_up(report)
        with old.frozen():  # what has only one of its two writes behind it is not missing
            self._catch_up(takeovers, report)
        _check_complete(takeovers, allow_missing=allow_missing)
        _index(new, report)
        with old.frozen(), self._for_good():
            _same_names(old, new)
            # A collection that was made again meanwhile is another one.
            takeovers = {name: _same(takeovers.get(name), one) for name, one in _takeovers(old, new).items()}
            self._catch_up(takeovers, report)
            _check_complete(takeovers, allow_missing=allow_missing)
            self._switch(takeovers, old, encoders, staged)
        assert staged.searcher is not None, "there are collections"
        assert before.searcher is not None, "there are collections"
        staged.searcher.watch(before.searcher)
        old.stop_rebuilding()
        old.close_when_unused()
        sizes = {name: takeover.successor.view.size for name, takeover in takeovers.items()}
        parts = [PromotedCollection(name, sizes[name], len(one.missing)) for name, one in takeovers.items()]
        return Promoted(before.facts, staged.facts, parts)

    def _switch(self, takeovers: Mapping[str, Takeover], old: DataDirectory, encoders: Encoders, staged: Model) -> None:
        for takeover in takeovers.values():
            # Callers that wait for their writes by their sequence numbers must not wait for ever.
            takeover.successor.skip_to(takeover.current.view.seq)
        succession.promote(old.root, list(takeovers))
        old.succeeded()
        self._models.serve(encoders, staged)
        self._staged = self._serving.staged = None

    def _catch_up(self, takeovers: Mapping[str, Takeover], report: Report) -> None:
        """Inside ``frozen``: compare the rest, without what is under way."""
        under_way = set(self._serving.under_way)
        for name, takeover in takeovers.items():
            takeover.catch_up(report, {item_id for where, item_id in under_way if where == name})

    @contextmanager
    def _for_good(self) -> Iterator[None]:
        """Let second writes that fail inside this fail their calls: nobody will look for what is missing any more."""
        self._serving.promoting = True
        try:
            yield
        finally:
            self._serving.promoting = False

    def unstage(self, report: Report) -> None:
        """Let go of the staged model, if there is one, and delete its collections, those of an earlier run as well."""
        staged = self._serving.staged
        self._staged = self._serving.staged = None
        report("deleting", 0, 1)
        data = self._serving.model.data
        if staged is not None and staged.data is not None:
            staged.data.close()
        if data is not None:
            succession.discard(data.root)
        report("deleting", 1, 1)


def _foreign(data: DataDirectory | None, manifest: Manifest) -> list[str]:
    return [] if data is None else data.made_by_others(manifest.weight_hash, manifest.dimension)


def _check_empty(before: Model, wanted: Manifest) -> None:
    """Raise OtherModel where a collection has items, which would be lost."""
    assert before.data is not None, "asked for collections that are not of a model"
    names = [name for name in _foreign(before.data, wanted) if before.data.collection(name).reader.counts().live]
    if names:
        raise OtherModel(
            f"collections hold vectors of other weights than the bundle's ({before.weight_hash[:12]}, and not "
            f"{wanted.weight_hash[:12]}): {', '.join(names)}; `clipsearch reembed start` stages the bundle, so that "
            "they can be embedded anew while they serve",
            metadata={
                "collections": ",".join(names),
                "weight_hash": before.weight_hash,
                "bundle_weight_hash": wanted.weight_hash,
            },
        )


def _note_beginning(old: DataDirectory, new: DataDirectory) -> None:
    """Note which rows the collections are at, unless an earlier run has: what comes later is written to both."""
    file = new.root / _BEGAN
    if file.is_file():
        return
    rows = {old.collection(name).reader.identity: old.collection(name).view.end_row for name in old.names()}
    with disk_errors("staging"), appearing(file) as unfinished:
        unfinished.write_text(json.dumps(rows), encoding="utf-8")


def _same_names(old: DataDirectory, new: DataDirectory) -> None:
    """Have the new directory hold collections of the names that the old one has, and no others."""
    there = set(new.names())
    for name in sorted(set(old.names()) - there):
        new.create(name)
    for name in sorted(there - set(old.names())):
        new.delete(name)


def _takeovers(old: DataDirectory, new: DataDirectory) -> dict[str, Takeover]:
    began = json.loads((new.root / _BEGAN).read_text(encoding="utf-8"))
    return {
        name: Takeover(old.collection(name), new.collection(name), began.get(old.collection(name).reader.identity, 0))
        for name in old.names()
    }


def _same(earlier: Takeover | None, now: Takeover) -> Takeover:
    same = earlier is not None and earlier.current is now.current and earlier.successor is now.successor
    return earlier if earlier is not None and same else now


def _check_complete(takeovers: dict[str, Takeover], *, allow_missing: bool) -> None:
    missing = {name: sorted(takeover.missing) for name, takeover in takeovers.items() if takeover.missing}
    if allow_missing or not missing:
        return
    parts = [
        f"{name} lacks {len(ids):,} ({', '.join(ids[:TOLD])}{', …' if len(ids) > TOLD else ''})"
        for name, ids in missing.items()
    ]
    raise CollectionsIncomplete(
        f"items have no vector of the staged model yet: {'; '.join(parts)}; bring them into "
        f"{', '.join(f'{name}@next' for name in missing)}, or promote without them",
        metadata={name: str(len(ids)) for name, ids in missing.items()},
    )


def _index(data: DataDirectory, report: Report) -> None:
    """Have the indexes built that are due, so that the first searches are as fast as the last ones were."""
    for name in data.names():
        collection = data.collection(name)
        if not collection.rebuild_due:
            continue
        try:
            collection.rebuild(report)
        except RebuildRunning:
            logger.info("collection %s: its index is being built, and will be swapped in when it is done", name)
