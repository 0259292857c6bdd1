"""Every metric there is, written down once: what is exported, documented and asked about by dashboard and alerts.

Names follow Prometheus' conventions: base units, ``_total`` on what only grows, one meaning per name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from clipsearch.telemetry.histogram import Histogram, merged


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric: its name, kind and labels, and what a value of it means."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str

    def family(self, values: Iterable[tuple[Sequence[str], float]]) -> Metric:
        """Return a counter or gauge for the endpoint: a value for each set of label values."""
        make = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        made = make(self.name, self.meaning, labels=self.labels)
        for labels, value in values:
            made.add_metric(labels, value)
        return made

    def histograms(self, values: Iterable[tuple[Sequence[str], Sequence[Histogram]]]) -> Metric:
        """Return a histogram for the endpoint; several of the same bounds are added up."""
        made = HistogramMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, several in values:
            read = merged(several)
            bounds = [*map(floatToGoString, several[0].bounds), "+Inf"]
            made.add_metric(labels, list(zip(bounds, read.cumulative, strict=True)), read.total)
        return made


REQUESTS = Declared(
    "clipsearch_requests_total", "counter", ("method", "code"), "Calls that ended, by method and gRPC status code."
)
REQUEST_SECONDS = Declared(
    "clipsearch_request_seconds", "histogram", ("method",), "Time from a call's arrival in Python to its end."
)
STAGE_SECONDS = Declared(
    "clipsearch_stage_seconds",
    "histogram",
    ("stage", "lane"),
    "Time that an item spent in a stage (preprocess, queue, encode, search, write); a batch's time counts once for "
    "each of its items.",
)
BATCH_ITEMS = Declared(
    "clipsearch_batch_items",
    "histogram",
    ("lane",),
    "Items in a batch: its count is that of batches, its sum that of items.",
)
BATCH_FILL = Declared(
    "clipsearch_batch_fill_ratio",
    "histogram",
    ("lane",),
    "Part of a batch's budget, of items or of cost, that was used.",
)
BATCH_SECONDS = Declared("clipsearch_batch_seconds", "histogram", ("lane",), "Time that a batch ran.")
QUEUE_WAIT = Declared(
    "clipsearch_queue_wait_seconds", "histogram", ("lane", "priority"), "Time that an item waited for its batch."
)
QUEUE_ITEMS = Declared("clipsearch_queue_items", "gauge", ("lane", "priority"), "Items that wait for a batch.")
LANE_ITEMS = Declared(
    "clipsearch_lane_items", "gauge", ("lane",), "Items that hold a place in the lane, from admission to answer."
)
LANE_CAPACITY = Declared("clipsearch_lane_capacity_items", "gauge", ("lane",), "Places in the lane.")
LANE_RUNNING = Declared(
    "clipsearch_lane_running_seconds", "gauge", ("lane",), "How long the oldest batch at hand has been running."
)
DROPPED = Declared(
    "clipsearch_dropped_items_total",
    "counter",
    ("lane", "reason"),
    "Items that were never computed: expired and cancelled ones, and refused ones by the error's reason.",
)
FAILED = Declared("clipsearch_failed_items_total", "counter", ("lane",), "Items whose computation failed.")
TEXT_TOKENS = Declared(
    "clipsearch_text_tokens_total",
    "counter",
    ("kind",),
    "Tokens that were encoded: real ones, and what padding cost, in tokens.",
)
PREPROCESS_FAILURES = Declared(
    "clipsearch_preprocess_failures_total",
    "counter",
    ("lane", "reason"),
    "Inputs that could not be decoded or tokenised, by the error's reason.",
)
QUERY_CACHE = Declared(
    "clipsearch_query_cache_total",
    "counter",
    ("result",),
    "Texts that were looked up among those embedded before: hit, and miss.",
)
QUERY_CACHE_BYTES = Declared("clipsearch_query_cache_bytes", "gauge", (), "Memory that the embeddings kept take.")
ENCODER_RUNS = Declared("clipsearch_encoder_runs_total", "counter", ("tower",), "Runs of a tower, whoever asked.")
ENCODER_SECONDS = Declared(
    "clipsearch_encoder_seconds_total", "counter", ("tower",), "Time that runs of a tower took, added up."
)
ITEMS = Declared("clipsearch_collection_items", "gauge", ("collection",), "Items that live.")
TOMBSTONES = Declared(
    "clipsearch_collection_tombstones", "gauge", ("collection",), "Rows of deleted and replaced items."
)
DELTA = Declared(
    "clipsearch_collection_delta_items", "gauge", ("collection",), "Items newer than the index, searched exactly."
)
DAMAGED = Declared(
    "clipsearch_collection_damaged_items", "gauge", ("collection",), "Items whose embedding fails its checksum."
)
SEQUENCE = Declared(
    "clipsearch_collection_sequence_number", "gauge", ("collection",), "Sequence number of the newest write."
)
DISK = Declared("clipsearch_collection_disk_bytes", "gauge", ("collection",), "Size of the collection's files.")
INDEX_ITEMS = Declared("clipsearch_index_items", "gauge", ("collection",), "Items that the index was built of.")
INDEX_BUILD = Declared("clipsearch_index_build_seconds", "gauge", ("collection",), "Time that the index's build took.")
INDEX_BUILT = Declared(
    "clipsearch_index_built_timestamp_seconds", "gauge", ("collection",), "When the index was built, Unix time."
)
INDEX_RECALL = Declared(
    "clipsearch_index_recall",
    "gauge",
    ("collection", "queries"),
    "Recall@10 of held-out queries on the day the index was tuned.",
)
INDEX_TARGET = Declared(
    "clipsearch_index_recall_target", "gauge", ("collection",), "Recall that the index was tuned to."
)
REBUILDING = Declared("clipsearch_index_rebuilding", "gauge", ("collection",), "1 while a new index is being built.")
LIVE_WANTED = Declared(
    "clipsearch_live_recall_neighbours_total",
    "counter",
    ("collection", "queries"),
    "Exact neighbours, at most 10 each, of the live queries that were searched again exactly.",
)
LIVE_FOUND = Declared(
    "clipsearch_live_recall_found_total",
    "counter",
    ("collection", "queries"),
    "Those of them that the index had found: live recall is the ratio of the two.",
)
JOBS = Declared("clipsearch_jobs_running", "gauge", ("kind",), "Long operations in progress.")
LOOP_LAG = Declared(
    "clipsearch_event_loop_lag_seconds", "histogram", (), "How late the event loop ran a timer, four times a second."
)
CPU = Declared(
    "clipsearch_cpu_seconds_total",
    "counter",
    ("part",),
    "Processor time by part: event_loop, the workers of each lane (text_lane, ...), and the processes beside: fronts, "
    "decoders. "
    "What else process_cpu_seconds_total has are the threads of gRPC, ONNX Runtime and FAISS.",
)
SERVING = Declared("clipsearch_serving", "gauge", (), "1 while health says SERVING.")
DEVICE_MEMORY = Declared(
    "clipsearch_device_memory_bytes",
    "gauge",
    ("device", "state"),
    "Memory of a GPU, used (by anybody) and total; only where the model runs on CUDA.",
)
BUILD = Declared(
    "clipsearch_build_info", "gauge", ("version", "device", "precision", "weights"), "Always 1: what is running."
)

ALL: tuple[Declared, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Declared))
"""In the order of this file."""


def markdown_table() -> str:
    """The metrics as the table in docs/monitoring.md; a test holds the two equal."""
    lines = ["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |"]
    for one in ALL:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.meaning} |")
    return "\n".join(lines) + "\n"
