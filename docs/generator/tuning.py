"""docs/tuning.md: what batches, load, visited lists and ways to write are worth, from the committed benchmarks."""

from typing import Any

from benchmarks.harness.report import number
from docs.generator.results import measured_on, result

PRECISIONS = ("fp32", "int8")
TOWERS = {"text": "texts/s", "image": "pictures/s"}


def batch_table() -> str:
    """Items per second by batch size: the raw session of a ViT-B/32 on all cores, the better of spinning or not."""
    columns = {
        f"{precision}, {unit}": _best(result("serving")["samples"][tower][precision]["raw_tries"])
        for tower, unit in TOWERS.items()
        for precision in PRECISIONS
    }
    sizes = sorted({size for column in columns.values() for size in column})
    lines = [f"| batch | {' | '.join(columns)} |", f"| ---: |{' ---: |' * len(columns)}"]
    for size in sizes:
        cells = (number(column[size]) if size in column else "" for column in columns.values())
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _best(tries: list[dict[str, Any]]) -> dict[int, float]:
    return {
        size: max(one["per_second"] for one in tries if one["batch"] == size) for size in {t["batch"] for t in tries}
    }


def concurrency_table() -> str:
    """Searches per second by the number of requests in flight, on the sample model and catalogue."""
    lines = ["| in flight, from connections | by text, searches/s | by vector |", "| ---: | ---: | ---: |"]
    rates: dict[tuple[int, int], dict[str, str]] = {}
    for one in result("serving")["samples"]["search"]["sweep"]:
        if one["side"] == "served":
            in_flight = one["connections"] * one["streams"]
            rates.setdefault((in_flight, one["connections"]), {})[one["kind"]] = number(one["rate"])
    for (in_flight, connections), by in sorted(rates.items()):
        lines.append(f"| {in_flight} from {connections} | {by.get('text', '')} | {by.get('vector', '')} |")
    return "\n".join(lines) + "\n"


def recall_table() -> str:
    """What visiting more lists gives and costs, a million vectors of 512: the curve of the index benchmark."""
    curve = next(one["curve"] for one in result("index")["contenders"] if one["name"] == "clipsearch")
    # The first point is where the index was tuned to; the sweep has it again.
    points = sorted({tuple(one["point"]): one for one in curve}.items(), key=lambda entry: (entry[0][1], entry[0][0]))
    lines = ["| nprobe | overfetch | recall@10, pictures | recall@10, texts | queries/s in batches |"]
    lines.append("| ---: | ---: | ---: | ---: | ---: |")
    for (nprobe, overfetch), one in points:
        found = f"{one['image_recall']:.3f} | {one['text_recall']:.3f}"
        lines.append(f"| {nprobe:g} | {overfetch:g} | {found} | {one['batch_qps']:,.0f} |")
    return "\n".join(lines) + "\n"


def idle_table() -> str:
    """The latency of one text at a time: of the raw session, and through the Python client, bare and served."""
    lines = [
        "| one text at a time, median | raw session | in a bare gRPC servicer | served |",
        "| --- | ---: | ---: | ---: |",
    ]
    values = {line["name"]: line["value"]["median"] for line in result("serving")["lines"] if line["section"] == "idle"}
    for name in ("ViT-B/32 fp32", "ViT-B/32 int8", "sample model"):
        cells = (f"{values[f'{name}: {side} p50']:.2f} ms" for side in ("raw call", "bare servicer", "served"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def writes_table() -> str:
    """How many ready vectors a second were written, by how they came."""
    lines = {line["name"]: line["value"]["median"] for line in result("live_catalogue")["sections"]["load"]["lines"]}
    names = ("single items, one caller", "single items, 32 callers", "new items, 500 a call, 8 callers")
    return (
        "\n".join(["| | items/s |", "| --- | ---: |", *(f"| {name} | {lines[name]:,.0f} |" for name in names)]) + "\n"
    )


def cpu_table() -> str:
    """The processor time of a call by the parts of the server, in microseconds; the lanes' together."""
    kinds: dict[str, dict[str, float]] = {}
    for line in result("cpu_parts")["lines"]:
        costs = kinds.setdefault(line["section"], {})
        part = "lanes" if line["name"].endswith(" lane") else line["name"]
        costs[part] = costs.get(part, 0.0) + line["value"]["median"]
    columns = ("fronts", "event loop", "lanes", "decoders", "other threads", "all")
    lines = [f"| µs of CPU a call | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for name, costs in kinds.items():
        cells = (f"{costs[part]:,.0f}" if part in costs else "" for part in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return measured_on(result("cpu_parts")["environment"]) + "\n".join(lines) + "\n"
