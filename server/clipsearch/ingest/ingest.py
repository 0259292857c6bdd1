"""Bringing one source into one collection, and keeping it there: the whole run."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Event

from clipsearch.client import Client
from clipsearch.fetch import FetchLimits
from clipsearch.ingest.agreement import reconcile
from clipsearch.ingest.batches import Bounds
from clipsearch.ingest.directory import DirectorySource
from clipsearch.ingest.loading import Loader
from clipsearch.ingest.pruning import Consent, prune, remove, too_many
from clipsearch.ingest.reasons import Rejects
from clipsearch.ingest.records import Found
from clipsearch.ingest.report import Report, Tally, silent
from clipsearch.ingest.run import Pass
from clipsearch.ingest.sending import Sender
from clipsearch.ingest.source import Source
from clipsearch.ingest.state import State
from clipsearch.ingest.vectors import EmbeddingsSource, NpySource


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to ingest. ``partial``: items go without pictures that cannot be had; ``patience_s``: for a server away."""

    prune: bool = False
    dry: bool = False
    partial: bool = False
    patience_s: float = 300.0
    bounds: Bounds = field(default_factory=Bounds)
    fetch: FetchLimits = field(default_factory=FetchLimits)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass did. ``notices`` are sentences for a person; ``refusal`` says why what is gone was not removed."""

    tally: Tally
    stopped: bool
    notices: tuple[str, ...] = ()
    refusal: str = ""


class Ingest:
    """One source, one collection, one state. ``sync`` may be called again and again. For one thread."""

    def __init__(
        self,
        client: Client,
        collection: str,
        source: Source,
        *,
        state: State,
        rejects: Rejects,
        options: Options,
        consent: Consent,
        stop: Event,
        report: Report = silent,
    ) -> None:
        """``consent`` is asked before many items are removed; ``stop`` ends a run early, in good order."""
        self._client, self._collection, self._source = client, collection, source
        self._state, self._rejects, self._options = state, rejects, options
        self._consent, self._stop, self._report = consent, stop, report
        self._sender = Sender(client, collection, stop=stop, patience_s=options.patience_s)

    def sync(self) -> Outcome:
        """Bring the whole source into the collection; raises ClientError, and ClipsearchError for an unusable source.

        Whatever it ends with, the state says what was acknowledged, and the next run goes on from there.
        """
        agreed = reconcile(self._client, self._collection, self._state)
        if isinstance(self._source, NpySource | EmbeddingsSource):
            self._source.check_model(agreed.stats.dimension, agreed.weight_hash)
        notices = (agreed.difference,) if agreed.difference else ()
        self._state.next_run()
        tally, hidden = Tally(), self._rejects.hidden
        self._pass(self._source.records(self._rejects), tally)
        refusal = ""
        if self._options.prune and not self._stop.is_set():
            pruned = prune(
                self._state,
                self._sender,
                tally,
                hidden=self._rejects.hidden - hidden,
                consent=self._consent,
                stop=self._stop,
                dry=self._options.dry,
            )
            refusal = pruned.refusal
            self._advance(pruned.changes, pruned.last_seq)
        return Outcome(tally, self._stop.is_set(), notices, refusal)

    def sync_paths(self, source: DirectorySource, paths: Iterable[str]) -> Outcome:
        """Bring some pictures of a directory without metadata into step, those that are gone too. Raises as ``sync``.

        Falls back to the whole directory where the collection is not the one that the state is about.
        """
        identity = self._client.catalogue.stats(self._collection).identity
        if identity != self._state.about("identity"):
            return self.sync()
        self._state.next_run()
        tally = Tally()
        found, missing = source.at(paths)
        self._pass(found, tally)
        ids = list(dict.fromkeys(item_id for path in missing for item_id in self._state.below(path)))
        # Something may have come back since, or lie deeper.
        gone = [item_id for item_id in ids if not (source.root / item_id).is_file()]
        refusal = ""
        if not gone or not self._options.prune:
            return Outcome(tally, self._stop.is_set())
        if not source.root.is_dir():
            refusal = f"{source.root} is not there any more: nothing was removed"
        elif too_many(len(gone), held := self._state.held()) and not self._consent(len(gone), held):
            refusal = f"{len(gone):,} of {held:,} items are gone, and were not removed; --yes removes them"
        else:
            done = remove(self._state, self._sender, gone, dry=self._options.dry)
            tally.removed = done.removed
            self._advance(done.changes, done.last_seq)
        return Outcome(tally, self._stop.is_set(), (), refusal)

    def _pass(self, items: Iterable[Found], tally: Tally) -> None:
        with Loader(self._options.fetch, partial=self._options.partial) as loader:
            run = Pass(
                self._state,
                loader,
                self._sender,
                self._rejects,
                tally,
                bounds=self._options.bounds,
                stop=self._stop,
                report=self._report,
                dry=self._options.dry,
            )
            try:
                run.run(items, lambda: self._source.position)
            finally:
                self._advance(run.changes, run.last_seq)

    def _advance(self, changes: int, last_seq: int) -> None:
        """Note the sequence number that all agrees at, as long as nobody else has written.

        Each write that changes something takes the next number; where others wrote too, some are missing between ours.
        """
        seq = int(self._state.about("seq") or 0)
        if changes and last_seq == seq + changes:
            self._state.agree(f"{self._state.about('identity')}", f"{self._state.about('model')}", last_seq)
