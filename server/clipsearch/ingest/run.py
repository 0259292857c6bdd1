"""A pass over a source: what is new or changed is loaded, sent and noted; what is as it was is passed over.

One thread reads the source, compares with the state and keeps the books; others read files, download and write. They
meet in one queue: what finishes is put there, and the first thread takes it out whenever there is no room for more.
Room is counted in records that are loading, bytes that are held, and batches that are under way, so memory is bounded
whatever comes. A server that is slow or full holds up the batches, those the loading, and that the reading.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event

from clipsearch.client import ClientError
from clipsearch.ingest.batches import Batches, Bounds
from clipsearch.ingest.loading import Loaded, Loader, downloads
from clipsearch.ingest.reasons import BadRecord, Rejects
from clipsearch.ingest.records import Found, Record, Unusable
from clipsearch.ingest.report import Report, Tally
from clipsearch.ingest.sending import Answer, Outgoing, Sender, Sent
from clipsearch.ingest.state import Acknowledged, Entry, State, Status

_LOOK_S = 0.25
"""How often a wait looks whether the run is to stop: a download may take minutes."""


class Pass:
    """One pass. To be used once, in one thread."""

    def __init__(
        self,
        state: State,
        loader: Loader,
        sender: Sender,
        rejects: Rejects,
        tally: Tally,
        *,
        bounds: Bounds,
        stop: Event,
        report: Report,
        dry: bool = False,
    ) -> None:
        """``stop`` ends the reading, and what is under way is finished; ``dry`` sends and downloads nothing."""
        self._state, self._loader, self._rejects, self._tally = state, loader, rejects, tally
        self._stop, self._report, self._dry = stop, report, dry
        # What finishes on other threads puts here what is to be done about it on this one.
        self._finished: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._batches = Batches(sender, bounds, lambda batch: self._finished.put(partial(self._answered, batch)))
        self._held_bytes, self._most_held = 0, bounds.held_bytes
        self._loading: set[Future[Loaded]] = set()
        self._closing = False
        self.changes = 0
        self.last_seq = 0

    def run(self, items: Iterable[Found], position: Callable[[], int]) -> None:
        """Bring the server to where the source is, but for what is gone from it; raises what ended a batch.

        Returns early once ``stop`` is set. All answers that came are in the state, whatever happens.
        """
        with self._batches:
            try:
                for item in items:
                    if self._stop.is_set():
                        break
                    self._take(item)
                    self._report(position(), self._tally)
                else:
                    self._finish()
            finally:
                self._close()
            self._report(position(), self._tally)

    def _take(self, item: Found) -> None:
        try:
            if not _is_unicode(item.id):
                raise BadRecord("ID_NOT_USABLE", "the id is not valid Unicode")
            known = self._state.find(item.id)
            if known is not None and known.run == self._state.run:
                raise BadRecord("ID_DUPLICATE", f"the id {item.id!r} came earlier in the source")
            self._state.see(item.id)
            if isinstance(item, Unusable):
                raise item.problem
            if item.is_empty:
                raise BadRecord("CONTENT_MISSING", "there is no picture, text or vector to find the item by")
            self._consider(item, known)
        except BadRecord as error:
            self._reject(item, error.reason, error.message)

    def _consider(self, record: Record, known: Entry | None) -> None:
        """Pass over what is as it was, send what is at hand, load the rest. Raises BadRecord."""
        description, stamp = record.description(), self._stamp(record)
        if not record.pictures:
            self._compare(Loaded(record, stamp), known)
        elif known is not None and known.status is Status.STORED and stamp is not None and known.stamp == stamp:
            if known.description == description:
                self._tally.unchanged += 1
            else:
                self._send(Outgoing(record, stamp, known.content or b"", description, bare=True))
        elif self._dry and (known is None or known.status is not Status.STORED or downloads(record)):
            self._count_dry(known)
        else:
            self._make_room(self._loader.room_for(record))
            self._load(record, stamp)

    def _stamp(self, record: Record) -> str | None:
        try:
            return record.stamp()
        except BadRecord:
            if not self._loader.partial:
                raise
            return None  # a picture is missing, and loading tells whether there are others

    def _load(self, record: Record, stamp: str | None) -> None:
        future = self._loader.start(record, stamp)
        self._loading.add(future)
        future.add_done_callback(lambda done: self._finished.put(partial(self._read, done)))

    def _compare(self, loaded: Loaded, known: Entry | None) -> None:
        """Send what turned out to be new or changed."""
        record, stamp = loaded.record, loaded.stamp
        out = Outgoing(record, stamp, record.content(loaded.pictures), record.description(), loaded.pictures)
        if known is None or known.status is not Status.STORED or known.content != out.content:
            self._send(out)
        elif known.description == out.description:
            self._state.restamp(record.id, stamp)
            self._tally.unchanged += 1
        else:
            self._send(replace(out, pictures=(), bare=True))

    def _send(self, out: Outgoing) -> None:
        if self._dry:
            self._count_dry(self._state.find(out.record.id))
            return
        self._held_bytes += out.size
        if batch := self._batches.add(out):
            self._begin(batch)

    def _begin(self, batch: list[Outgoing]) -> None:
        while self._batches.are_full:
            self._handle_next()
        self._state.sending([out.record.id for out in batch])
        self._batches.begin(batch)

    def _make_room(self, most_loading: int) -> None:
        def is_full() -> bool:
            return len(self._loading) >= most_loading or self._held_bytes >= self._most_held

        while self._loading and is_full() and not self._stop.is_set():
            self._handle_next()
        while self._batches.under_way and self._held_bytes >= self._most_held:
            self._handle_next()

    def _finish(self) -> None:
        """Load and send what is left, and what answers ask for again; ends early once ``stop`` is set."""
        while not self._stop.is_set():
            if self._loading:
                self._handle_next()
            elif batch := self._batches.rest():
                self._begin(batch)
            elif self._batches.under_way:
                self._handle_next()
            else:
                return

    def _close(self) -> None:
        """Wait for the answers of what was sent, and give up the rest; raises the first failure, once all are noted."""
        self._closing = True
        failures: list[ClientError] = []
        for future in self._loading:
            future.cancel()
        while self._batches.under_way:
            try:
                self._handle_next()
            except ClientError as error:
                failures.append(error)
        self._state.commit()
        if failures:
            raise failures[0]

    def _handle_next(self) -> None:
        """Wait for whatever finishes next, and deal with it; raises what it failed with.

        Once ``stop`` is set it returns before long, whether or not something has finished.
        """
        while True:
            try:
                deal_with_it = self._finished.get(timeout=_LOOK_S)
            except Empty:
                if self._stop.is_set():
                    return
            else:
                deal_with_it()
                return

    def _answered(self, future: Future[Sent]) -> None:
        batch, sent = self._batches.finished(future)
        self._held_bytes -= sum(out.size for out in batch)
        self._note(sent)

    def _read(self, future: Future[Loaded]) -> None:
        self._loading.discard(future)
        if not future.cancelled():
            self._loaded(future.result())

    def _loaded(self, loaded: Loaded) -> None:
        record = loaded.record
        for skipped in loaded.skipped if loaded.problem is None else ():
            self._rejects.add(record.where, skipped.problem.reason, skipped.problem.message, record.id)
        if loaded.problem is not None:
            self._reject(record, loaded.problem.reason, loaded.problem.message)
        elif not self._closing:
            self._compare(loaded, self._state.find(record.id))

    def _note(self, sent: Sent) -> None:
        """Put the answers to a batch into the state and the tally."""
        self.changes += sent.changes
        self.last_seq = max(self.last_seq, sent.last_seq)
        refused = [answer for answer in sent.answers if answer.error is not None]
        self._state.stored(
            [_acknowledged(answer, answer.seq) for answer in sent.answers if answer.error is None and answer.seq]
        )
        self._state.refused([answer.out.record.id for answer in refused if not answer.again])
        for answer in sent.answers:
            if answer.error is None:
                self._count(answer)
            elif answer.again:
                self._load_again(answer.out)
            else:
                reason = answer.error.reason or answer.error.code.name
                self._reject(answer.out.record, reason, answer.error.message)

    def _load_again(self, out: Outgoing) -> None:
        """Send an item with its content, since the server has lost what it had of it."""
        if self._closing:
            return
        if out.record.pictures:
            self._load(out.record, out.stamp)
        else:
            self._send(replace(out, bare=False))

    def _count(self, answer: Answer) -> None:
        match answer.outcome:
            case "created":
                self._tally.created += 1
            case "updated":
                self._tally.updated += 1
                self._tally.updated_metadata += answer.out.bare
            case _:
                self._tally.unchanged += 1

    def _count_dry(self, known: Entry | None) -> None:
        """Count what would be sent; nothing is downloaded to see whether it is what it was."""
        if known is None or known.status is Status.SEEN:
            self._tally.created += 1
        else:
            self._tally.updated += 1

    def _reject(self, item: Found, reason: str, message: str) -> None:
        self._tally.rejected += 1
        self._rejects.add(item.where, reason, message, item.id)


def _acknowledged(answer: Answer, seq: int) -> Acknowledged:
    out = answer.out
    return Acknowledged(out.record.id, out.stamp, out.content, out.description, seq)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
