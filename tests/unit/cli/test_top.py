"""Frames of ``clipsearch top``, from what a server's endpoint said twice."""

import ast
import inspect
import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from clipsearch.cli import top_view
from clipsearch.cli.scrape import Window, parse
from clipsearch.cli.top import _next
from clipsearch.cli.top_view import duration, frame
from clipsearch.telemetry import metrics
from tests.unit.promql import OTHERS

ADDRESS = "127.0.0.1:9464"
ROOT = Path(__file__).parents[3]
HEADS = (["method"], ["lane"], ["collection"])
LANES = ("text", "image", "search", "write")
COUNTERS = ("clipsearch_requests_total", "clipsearch_dropped_items_total", "clipsearch_live_recall_found_total")


def started() -> str:
    """A process that has run for 3 hours, 12 minutes and some seconds, however long a test takes."""
    return f"process_start_time_seconds {time.time() - 3 * 3600 - 12 * 60 - 20}\n"


def server(serving: int = 1) -> str:
    lanes = "".join(f'clipsearch_lane_items{{lane="{lane}"}} 0\n' for lane in LANES)
    info = 'clipsearch_build_info{device="cpu",precision="fp32",version="1.2.3",weights="abc"} 1\n'
    return f"{info}clipsearch_serving {serving}\nprocess_resident_memory_bytes {200 * 2**20}\n{lanes}{started()}"


def histogram(name: str, labels: str, counts: dict[str, int], total: float) -> str:
    """Cumulative counts by bound, the last of them +Inf."""
    buckets = "".join(f'{name}_bucket{{{labels},le="{le}"}} {count}\n' for le, count in counts.items())
    return (
        f"# TYPE {name} histogram\n{buckets}{name}_sum{{{labels}}} {total}\n{name}_count{{{labels}}} {counts['+Inf']}\n"
    )


def calls(answered: int, refused: int) -> str:
    lines = f'clipsearch_requests_total{{method="Search",code="OK"}} {answered}\n'
    lines += f'clipsearch_requests_total{{method="Search",code="RESOURCE_EXHAUSTED"}} {refused}\n'
    lines += 'clipsearch_requests_total{method="Search",code="DEADLINE_EXCEEDED"} 5\n'
    below = {"0.001": answered // 2, "0.01": answered, "+Inf": answered}
    return lines + histogram("clipsearch_request_seconds", 'method="Search"', below, 0.004 * answered)


def batches(count: int) -> str:
    """Of 8 items each in the search lane, a quarter full, after a wait of up to 1 ms."""
    one = 'lane="search"'
    items = histogram("clipsearch_batch_items", one, {"8.0": count, "+Inf": count}, 8.0 * count)
    fill = histogram("clipsearch_batch_fill_ratio", one, {"0.3": count, "+Inf": count}, 0.25 * count)
    ran = histogram("clipsearch_batch_seconds", one, {"0.1": 0, "0.25": count, "+Inf": count}, 0.2 * count)
    waits = {"0.001": 8 * count, "+Inf": 8 * count}
    return items + fill + ran + histogram("clipsearch_queue_wait_seconds", f'{one},priority="bulk"', waits, 0.01)


def collection(name: str, items: int = 1_234_567, recall: str = "") -> str:
    label = f'collection="{name}"'
    sizes = {"items": items, "delta_items": 67, "tombstones": 3, "sequence_number": 2_000_000}
    lines = "".join(f"clipsearch_collection_{size}{{{label}}} {value}\n" for size, value in sizes.items())
    return f"{lines}clipsearch_index_items{{{label}}} {items - 67}\n{recall}"


def window(before: str, after: str) -> Window:
    """Two seconds apart."""
    types = "".join(f"# TYPE {name} counter\n" for name in COUNTERS)
    return Window(parse(types + before, 10.0), parse(types + after, 12.0))


def drawn(shown: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(shown)
    return [line.rstrip() for line in captured.get().splitlines()]


def rows(shown: RenderableType, width: int = 80) -> dict[str, list[str]]:
    """Lines by their first word."""
    return {line.split()[0]: line.split()[1:] for line in drawn(shown, width) if line}


def test_a_busy_server_fills_the_frame() -> None:
    recall = "".join(
        f'clipsearch_index_recall{{collection="default",queries="{queries}"}} {value}\n'
        for queries, value in (("text", 0.956), ("image", 0.987))
    )
    recall += 'clipsearch_live_recall_neighbours_total{collection="default",queries="text"} 1000\n'
    recall += 'clipsearch_live_recall_found_total{collection="default",queries="text"} 970\n'
    state = server() + collection("default", recall=recall) + 'clipsearch_queue_items{lane="search"} 40\n'
    dropped = 'clipsearch_dropped_items_total{lane="search",reason="queue_full"} '
    beside = 'clipsearch_cpu_seconds_total{part="fronts"} '
    before = state + beside + "5\nprocess_cpu_seconds_total 10\n" + calls(100, 7) + batches(10) + dropped + "0\n"
    after = state + beside + "6\nprocess_cpu_seconds_total 12\n" + calls(2100, 27) + batches(260) + dropped + "30\n"
    assert drawn(frame(window(before, after), ADDRESS)) == [
        "clipsearch 1.2.3 at 127.0.0.1:9464  SERVING  up 3 h 12 min",
        "cpu 1.50 cores, memory 200 MiB, event loop p99 - ms late, model fp32/cpu",
        "jobs: none",
        "",
        "method                         calls/s failed/s p50 ms p99 ms        failed with",
        "Search                           1,010     10.0    1.0    9.8 RESOURCE_EXHAUSTED",
        "",
        "lane          items/s batch fill queued wait p50 p99 ms run p50 p99 ms dropped/s",
        "text                0     -    -      0        -      -       -      -         0",
        "image               0     -    -      0        -      -       -      -         0",
        "search          1,000   8.0  25%     40     0.50   0.99     175    248      15.0",
        "write               0     -    -      0        -      -       -      -         0",
        "",
        "collection         items   indexed delta tombstones  sequence recall tuned  live",
        "default        1,234,567 1,234,500    67          3 2,000,000        0.956 0.970",
    ]


def test_the_guide_shows_the_columns_that_there_are() -> None:
    state = server() + collection("default")
    heads = [line.split() for line in drawn(frame(window(state, state), ADDRESS)) if line.split()[:1] in HEADS]
    guide = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    assert len(heads) == len(HEADS)
    assert [line.split() for line in guide.splitlines() if line.split()[:1] in HEADS] == heads


def test_a_server_of_vectors_alone_that_nobody_called() -> None:
    lines = drawn(frame(window(server(), server()), ADDRESS))
    assert "no call yet" in lines
    assert not any(line.startswith("collection") for line in lines), "it keeps none"


def test_a_server_that_does_not_serve_says_so_first() -> None:
    assert "  NOT SERVING  " in drawn(frame(window(server(), server(serving=0)), ADDRESS))[0]


def test_jobs_rebuilds_and_the_memory_of_a_gpu_are_shown_while_there_are_any() -> None:
    state = server() + 'clipsearch_jobs_running{kind="import"} 2\nclipsearch_jobs_running{kind="export"} 0\n'
    state += 'clipsearch_index_rebuilding{collection="shoes"} 1\nclipsearch_index_rebuilding{collection="hats"} 0\n'
    for kind, mib in (("used", 1500), ("total", 81559)):
        state += f'clipsearch_device_memory_bytes{{device="0",state="{kind}"}} {mib * 2**20}\n'
    text = "\n".join(drawn(frame(window(state, state), ADDRESS), width=120))
    assert "jobs: import x2, rebuilding shoes\n" in text
    assert ", gpu 1,500 of 81,559 MiB\n" in text


def test_a_collection_without_a_tuned_index_is_searched_exactly() -> None:
    state = server() + collection("default")
    assert rows(frame(window(state, state), ADDRESS))["default"][-2:] == ["exact", "-"]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_whatever_comes_fits_and_rows_keep_their_names(width: int) -> None:
    before = server() + batches(0) + calls(0, 0)
    after = server() + batches(10**6) + calls(10**7, 10**6) + collection("a-collection-of-a-very-long-name", 10**9)
    lines = drawn(frame(window(before, after), ADDRESS), width)
    assert max(map(len, lines)) <= width
    firsts = {line.split()[0] for line in lines if line}
    assert {"Search", *LANES} <= firsts
    assert width < 80 or any(first.startswith("a-coll") for first in firsts), (
        "80 columns have room for a name's beginning"
    )


def test_a_server_that_no_longer_answers_leaves_the_last_frame_under_what_is_wrong(silent: str) -> None:
    last = window(server(), server() + calls(10, 0))
    shown, rendered = _next(last, silent)
    assert shown is last, "the next rates span the gap"
    text = " ".join(drawn(rendered))
    assert text.startswith(f"no metrics at http://{silent}/metrics")
    assert "Search" in text


@pytest.fixture(name="silent")
def _silent() -> Iterator[str]:
    """An address that is taken, but where nobody answers."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{one.getsockname()[1]}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (86_460, "1 d 1 min"),
    ],
)
def test_times_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_it_asks_for_what_is_exported() -> None:
    """A metric or label that does not exist would be shown as 0, for ever."""
    declared = {one.name: frozenset(one.labels) for one in metrics.ALL} | dict.fromkeys(OTHERS, frozenset())
    asked = list(_asked())
    assert len(asked) > 20
    for name, labels in asked:
        assert name in declared, name
        assert labels <= declared[name], name


def _asked() -> Iterator[tuple[str, frozenset[str]]]:
    """Metrics that the frame asks for, with the labels it selects by or lists."""
    for call in ast.walk(ast.parse(inspect.getsource(top_view))):
        match call:
            case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value=str(name)), *others]):
                if not name.startswith(("clipsearch_", "process_")):
                    continue
                labels = {keyword.arg for keyword in call.keywords if keyword.arg}
                if method == "labels" and isinstance(others[0], ast.Constant):
                    labels.add(str(others[0].value))
                yield name, frozenset(labels)
