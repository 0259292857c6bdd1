"""Metrics as a server's endpoint shows them, and what lies between two looks at it: rates, means and quantiles."""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S: Final = 5.0

Labels = frozenset[tuple[str, str]]


class NoMetrics(OSError):
    """The endpoint did not answer, or with something else than metrics."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One look: the values by name and labels, and when it was, on ``time.monotonic``."""

    at: float
    values: Mapping[str, Mapping[Labels, float]]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all series of a name that have these labels; 0 where there are none."""
        wanted = labels.items()
        return sum(value for has, value in self.values.get(name, {}).items() if wanted <= dict(has).items())

    def series(self, name: str, **labels: str) -> bool:
        """Whether there is any series of a name that has these labels."""
        wanted = labels.items()
        return any(wanted <= dict(has).items() for has in self.values.get(name, {}))

    def labels(self, name: str, label: str) -> list[str]:
        """Return what a label is among the series of a name, in the order in which they came."""
        return list(dict.fromkeys(dict(has)[label] for has in self.values.get(name, {}) if label in dict(has)))


def parse(text: str, at: float) -> Scrape:
    """Read the text format; raises ValueError where it is something else."""
    values: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Scrape(at, values)


def scrape(address: str) -> Scrape:
    """Look at ``host:port``; raises NoMetrics."""
    url = f"http://{address}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            text = response.read().decode()
        seen = parse(text, time.monotonic())
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise NoMetrics(
            f"no metrics at {url} ({reason}): is the server up, and was it started with --metrics-listen {address}?"
        ) from error
    if not seen.series("clipsearch_serving"):
        raise NoMetrics(f"what answers at {url} is no clipsearch server")
    return seen


@dataclass(frozen=True, slots=True)
class Window:
    """Two looks at one server, the later one second."""

    before: Scrape
    after: Scrape

    def rate(self, name: str, **labels: str) -> float:
        """Return how much a counter grew per second; from zero where the server was started in between."""
        grown = self._grown(name, labels)
        return grown / max(self.after.at - self.before.at, 1e-9)

    def sum_rate(self, name: str, **labels: str) -> float:
        """Return how much what a histogram saw added up to, per second."""
        return self.rate(f"{name}_sum", **labels)

    def mean(self, name: str, **labels: str) -> float | None:
        """Return the mean of what a histogram saw in between; None where it saw nothing."""
        count = self._grown(f"{name}_count", labels)
        return self._grown(f"{name}_sum", labels) / count if count else None

    def quantile(self, name: str, q: float, **labels: str) -> float | None:
        """Return a quantile of what a histogram saw in between; None where it saw nothing.

        Worked out as PromQL's ``histogram_quantile`` does: evenly spread inside a bucket, and the last bound where it
        lies beyond that.
        """
        bounds = sorted(self.after.labels(f"{name}_bucket", "le"), key=float)
        counts = [self._grown(f"{name}_bucket", {**labels, "le": bound}) for bound in bounds]
        if not counts or not counts[-1]:
            return None
        rank = q * counts[-1]
        place = next(i for i, count in enumerate(counts) if count >= rank)
        if place == len(bounds) - 1:
            return float(bounds[-2])
        below, lower = (counts[place - 1], float(bounds[place - 1])) if place else (0.0, 0.0)
        share = (rank - below) / (counts[place] - below) if counts[place] > below else 1.0
        return lower + (float(bounds[place]) - lower) * share

    def _grown(self, name: str, labels: Mapping[str, str]) -> float:
        before, after = self.before.total(name, **labels), self.after.total(name, **labels)
        return after if after < before else after - before
