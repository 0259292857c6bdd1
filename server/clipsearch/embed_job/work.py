"""``OUT.partial/``: what an output is made of while it is not finished, and the note of how much of that counts.

    job.json        what the job is: the model, the column, the kind
    progress.json   the note, replaced as a whole each time
    vectors.npy     float32 rows behind a header that is filled in at the end
    ids.jsonl       {"id": …} for each row
    rejects.jsonl   id, reason and message of each item without a row
    lock            held by the process that writes

Files are only ever appended to. What lies behind the note's lengths was on its way to the disk when the process ended,
and is cut off.
"""

import fcntl
import io
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from clipsearch.disk import appearing
from clipsearch.embed_job.engines import Model
from clipsearch.embed_job.errors import JobChanged, JobRunning
from clipsearch.embed_job.items import Digest, Kind

VERSION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """What must be the same for a job to go on."""

    model: Model
    kind: Kind
    column: str | None
    id_column: str | None
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Progress:
    """What is safely on the disk: items of the source taken, and what became of them.

    ``digest`` is that of the items taken. ``finished``: the source has no more.
    """

    taken: int = 0
    rows: int = 0
    rejected: int = 0
    ids_bytes: int = 0
    rejects_bytes: int = 0
    digest: str = Digest().hexdigest()
    finished: bool = False


class WorkDirectory:
    """The directory of one output; a context manager that holds its lock. Raises JobRunning where another does."""

    def __init__(self, out: Path) -> None:
        """Name it."""
        self.path = out.with_name(out.name + ".partial")
        self.vectors = self.path / "vectors.npy"
        self.ids = self.path / "ids.jsonl"
        self.rejects = self.path / "rejects.jsonl"
        self._progress = self.path / "progress.json"
        self._job = self.path / "job.json"
        self._lock_path = self.path / "lock"
        self._lock: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Make it, and lock it."""
        self.path.mkdir(exist_ok=True)
        self._lock = self._lock_path.open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise JobRunning(f"{self.path} is being written by another process") from error
        if not self._progress.exists():
            self.forget()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the lock; a directory in which nothing is noted goes."""
        if self._lock is not None:
            self._lock.close()
        if self.path.is_dir() and not self._progress.exists():
            shutil.rmtree(self.path)

    def resume(self, identity: Identity) -> Progress:
        """Return the progress of the job, of none for a new one. Raises JobChanged where the job is another one."""
        if not self._progress.exists():
            with appearing(self._job) as path:
                path.write_text(json.dumps(asdict(identity)) + "\n", encoding="utf-8")
            return Progress()
        begun = json.loads(self._job.read_text(encoding="utf-8"))
        now = asdict(identity)
        if begun != now:
            was, is_now = _difference(begun, now)
            raise JobChanged(
                f"{self.path} was begun with {was} and is given {is_now} now; --restart begins anew",
                metadata={"directory": str(self.path)},
            )
        return Progress(**json.loads(self._progress.read_text(encoding="utf-8")))

    def note(self, progress: Progress) -> None:
        """Note what is on the disk. It must be there already."""
        with appearing(self._progress) as path:
            path.write_text(json.dumps(asdict(progress)) + "\n", encoding="utf-8")

    def forget(self) -> None:
        """Remove what an earlier job has left, the note first, so that what remains counts for nothing."""
        self._progress.unlink(missing_ok=True)
        for path in self.path.iterdir():
            if path != self._lock_path:
                path.unlink()

    def remove(self) -> None:
        """Remove the directory of a finished job. While the note is there, it says that all is done."""
        for path in (self.vectors, self.ids, self.rejects, self._progress):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.path)


def npy_header(rows: int, dimension: int) -> bytes:
    """Return the header of a .npy file of float32 [rows, dimension].

    Its length does not depend on ``rows``: numpy leaves room for the first number to grow, for exactly this use.
    """
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _difference(begun: dict[str, object], now: dict[str, object]) -> tuple[str, str]:
    """Name what differs first, as it was and as it is."""
    for name, value in now.items():
        if begun.get(name) != value:
            return f"{name} {_shown(begun.get(name))}", _shown(value)
    return "other options", "these"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        short = str(value.get("weight_hash"))[:12]
        return f"{short} ({value.get('precision')}, {value.get('dimension')} dimensions)"
    return "none" if value is None else str(value)
