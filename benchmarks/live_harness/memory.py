"""The most memory that this process took over some time, its own and the pages of mapped files told apart."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

INTERVAL_S = 0.05


def resident() -> tuple[int, int]:
    """Return the bytes of this process that lie in memory: its own, and pages of files that it has mapped."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(1024 * int(fields[name].split()[0]) for name in ("RssAnon", "RssFile"))  # type: ignore[return-value]


class PeakMemory:
    """Looks every 50 ms while it is entered. Growths are in bytes, over what there was on entering."""

    def __init__(self) -> None:
        self.anonymous_growth = self.file_growth = 0
        self._before = resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._before = resident()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_S):
            anonymous, mapped = resident()
            self.anonymous_growth = max(self.anonymous_growth, anonymous - self._before[0])
            self.file_growth = max(self.file_growth, mapped - self._before[1])
