"""What ``clipsearch top`` shows, made to fit into 80 columns."""

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clipsearch.cli.scrape import Window

MIB = 2**20
NAME_WIDTH = 7
"""What is kept of a row's name in a terminal that is narrower than 80 columns, where figures are cut."""


def frame(window: Window, address: str) -> RenderableType:
    """Return one frame: the server, its calls, lanes and collections, between two looks at it."""
    parts: list[RenderableType] = [_server(window, address), "", _calls(window), "", _lanes(window)]
    if window.after.series("clipsearch_collection_items"):
        parts += ["", _collections(window)]
    return Group(*parts)


def _server(window: Window, address: str) -> RenderableType:
    now = window.after
    serving = now.total("clipsearch_serving") > 0
    line = Text.assemble(
        ("clipsearch ", "bold"),
        f"{now.labels('clipsearch_build_info', 'version')[0]} at {address}  ",
        ("SERVING", "bold green") if serving else ("NOT SERVING", "bold red"),
        f"  up {duration(time.time() - now.total('process_start_time_seconds'))}",
    )
    beside = sum(window.rate("clipsearch_cpu_seconds_total", part=part) for part in ("fronts", "decoders"))
    facts = [
        f"cpu {window.rate('process_cpu_seconds_total') + beside:.2f} cores",
        f"memory {now.total('process_resident_memory_bytes') / MIB:,.0f} MiB",
        f"event loop p99 {_ms(window.quantile('clipsearch_event_loop_lag_seconds', 0.99))} ms late",
        "model " + "/".join(now.labels("clipsearch_build_info", label)[0] for label in ("precision", "device")),
    ]
    if total := now.total("clipsearch_device_memory_bytes", state="total"):
        used = now.total("clipsearch_device_memory_bytes", state="used")
        facts.append(f"gpu {used / MIB:,.0f} of {total / MIB:,.0f} MiB")
    return Group(line, Text(", ".join(facts)), _jobs(window))


def _jobs(window: Window) -> Text:
    now = window.after
    kinds = now.labels("clipsearch_jobs_running", "kind")
    running = [f"{kind} x{count:.0f}" for kind in kinds if (count := now.total("clipsearch_jobs_running", kind=kind))]
    rebuilding = [
        f"rebuilding {name}"
        for name in now.labels("clipsearch_index_rebuilding", "collection")
        if now.total("clipsearch_index_rebuilding", collection=name)
    ]
    return Text("jobs: " + (", ".join([*running, *rebuilding]) or "none"))


def _calls(window: Window) -> Table:
    table = _table("method", ("calls/s", "failed/s", "p50 ms", "p99 ms", "failed with"))
    for method in sorted(window.after.labels("clipsearch_requests_total", "method")):
        codes = window.after.labels("clipsearch_requests_total", "code")
        failed = {
            code: rate
            for code in codes
            if code != "OK" and (rate := window.rate("clipsearch_requests_total", method=method, code=code))
        }
        worst = max(failed, key=lambda code: failed[code]) if failed else ""
        table.add_row(
            method,
            _rate(window.rate("clipsearch_requests_total", method=method)),
            Text(_rate(sum(failed.values())), style="red" if failed else ""),
            _ms(window.quantile("clipsearch_request_seconds", 0.5, method=method)),
            _ms(window.quantile("clipsearch_request_seconds", 0.99, method=method)),
            worst,
        )
    if not table.row_count:
        table.add_row("no call yet", *[""] * 5)
    return table


def _lanes(window: Window) -> Table:
    columns = ("items/s", "batch", "fill", "queued", "wait p50", "p99 ms", "run p50", "p99 ms", "dropped/s")
    table = _table("lane", columns)
    now = window.after
    for lane in now.labels("clipsearch_lane_items", "lane"):
        dropped = window.rate("clipsearch_dropped_items_total", lane=lane)
        dropped += window.rate("clipsearch_failed_items_total", lane=lane)
        size = window.mean("clipsearch_batch_items", lane=lane)
        fill = window.mean("clipsearch_batch_fill_ratio", lane=lane)
        table.add_row(
            lane,
            _rate(window.sum_rate("clipsearch_batch_items", lane=lane)),
            "-" if size is None else f"{size:.1f}",
            "-" if fill is None else f"{fill:.0%}",
            f"{now.total('clipsearch_queue_items', lane=lane):,.0f}",
            _ms(window.quantile("clipsearch_queue_wait_seconds", 0.5, lane=lane)),
            _ms(window.quantile("clipsearch_queue_wait_seconds", 0.99, lane=lane)),
            _ms(window.quantile("clipsearch_batch_seconds", 0.5, lane=lane)),
            _ms(window.quantile("clipsearch_batch_seconds", 0.99, lane=lane)),
            Text(_rate(dropped), style="red" if dropped else ""),
        )
    return table


def _collections(window: Window) -> Table:
    table = _table("collection", ("items", "indexed", "delta", "tombstones", "sequence", "recall tuned", "live"))
    now = window.after
    for name in now.labels("clipsearch_collection_items", "collection"):
        tuned = [
            now.total("clipsearch_index_recall", collection=name, queries=queries)
            for queries in ("text", "image")
            if now.series("clipsearch_index_recall", collection=name, queries=queries)
        ]
        wanted = now.total("clipsearch_live_recall_neighbours_total", collection=name)
        found = now.total("clipsearch_live_recall_found_total", collection=name)
        table.add_row(
            Text(name),
            f"{now.total('clipsearch_collection_items', collection=name):,.0f}",
            f"{now.total('clipsearch_index_items', collection=name):,.0f}",
            f"{now.total('clipsearch_collection_delta_items', collection=name):,.0f}",
            f"{now.total('clipsearch_collection_tombstones', collection=name):,.0f}",
            f"{now.total('clipsearch_collection_sequence_number', collection=name):,.0f}",
            f"{min(tuned):.3f}" if tuned else "exact",
            f"{found / wanted:.3f}" if wanted else "-",
        )
    return table


def _table(first: str, others: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", expand=True)
    table.add_column(first, overflow="ellipsis", no_wrap=True, ratio=1, min_width=NAME_WIDTH)
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    return table


def _rate(value: float) -> str:
    return "0" if value == 0 else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    ms = 1e3 * seconds
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 1 else f"{ms:.2f}"


def duration(seconds: float) -> str:
    """Return a time as its two largest units: ``3 h 12 min``."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left = max(0, int(seconds))
    parts: list[str] = []
    for name, length in units:
        if left >= length or (name == "s" and not parts):
            parts.append(f"{left // length} {name}")
            left %= length
    return " ".join(parts[:2])
