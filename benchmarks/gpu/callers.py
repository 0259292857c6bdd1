"""How many items a second callers side by side have done, and what that takes of the processor."""

import threading
import time
from collections.abc import Callable
from itertools import count


def rate(run: Callable[[int], object], batch: int, seconds: float, callers: int = 1) -> tuple[float, float]:
    """Return items a second, and milliseconds of processor time an item, of callers that run ``batch`` items at once.

    ``run`` is told a number that is another one every time. Some runs that are not counted come first.
    """
    numbers = count()
    for _ in range(2 * callers + 1):
        run(next(numbers))
    done = [0] * callers
    began, cpu_s = time.perf_counter(), time.process_time()
    stop = began + seconds

    def call(caller: int) -> None:
        while time.perf_counter() < stop:
            run(next(numbers))
            done[caller] += batch

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    items = sum(done)
    return items / (time.perf_counter() - began), 1e3 * (time.process_time() - cpu_s) / items
