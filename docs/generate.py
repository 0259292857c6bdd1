"""Rewrites the parts of docs/ that are made from the code, between their markers."""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness.report import number
from clipsearch.index.rules import IvfPqShape, choose_shape
from clipsearch.ingest.reasons import rejects_table
from clipsearch.rpc import scopes
from clipsearch.settings import markdown_table
from clipsearch.telemetry import metrics
from docs.generator.api import api_reference
from docs.generator.cli import cli_reference
from docs.generator.endurance import endurance_table
from docs.generator.errors import errors_table
from docs.generator.gpu import gpu_encoders_table
from docs.generator.load import load_table
from docs.generator.models import gate_table, precisions_table
from docs.generator.peers import peers_summary, peers_table
from docs.generator.protos import read_api
from docs.generator.results import lines_table, measured_on, result
from docs.generator.security import shows_a_cost
from docs.generator.sizing import collection_table, model_table
from docs.generator.tuning import batch_table, concurrency_table, cpu_table, idle_table, recall_table, writes_table

ROOT = Path(__file__).parents[1]


def replace(file: Path, name: str, content: str) -> None:
    """Put ``content`` between ``<!-- name -->`` and ``<!-- /name -->``; raises ValueError where they are missing."""
    text = file.read_text(encoding="utf-8")
    made, count = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: m[1] + content + m[2], text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{file} must hold the markers of {name} once, but has them {count} times")
    file.write_text(made, encoding="utf-8")


def quality_table() -> str:
    """The sample model's quality, as README shows it, from the committed result."""
    found = result("quality")
    figures, settings = found["figures"], found["settings"]
    exact = figures["full_captions"]["exact_picture"]
    images = figures["image_to_image_precision@10"]
    rows = [
        (
            "full caption → its very picture, recall@1 / @5 / @10",
            " / ".join(f"{value:.3f}" for value in exact.values()),
        ),
        ("“colour kind” → pictures that fit, precision@10", f"{figures['colour_and_kind']['precision@10']:.3f}"),
        ("partial caption → pictures that fit, precision@10", f"{figures['partial_captions']['precision@10']:.3f}"),
        ("picture → pictures of the same kind, precision@10", f"{images['kind']:.3f}"),
        ("picture → pictures of the same colour, precision@10", f"{images['colour']:.3f}"),
    ]
    lines = [f"| sample model, {settings['gallery']} pictures of combinations never trained on | |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)]) + "\n"


def faults_table() -> str:
    """What the fault scripts have done and found, as docs/catalogue.md shows it, from the committed results."""
    writer, server, load = map(result, ("faults_kill_writer", "faults_kill_server", "concurrent_load"))
    named = [count for step, count in writer["kills"].items() if not step.startswith("outside")]
    rows = [
        ("`kill_writer`", f"{writer['rounds']} kills, {sum(named)} of them at {len(named)} named steps"),
        ("", _acknowledged(writer["acknowledged_items"], writer["checks"]["items_searched"])),
    ]
    for kind in ("flat", "ivfpq"):
        report = server[kind]
        behind = f" in front of {report['background']:,} others" if report["background"] else ""
        rows += [
            (f"`kill_server`, {kind}{behind}", f"{report['rounds']} kills, {report['rebuilds_begun']} rebuilds begun"),
            ("", _acknowledged(report["acknowledged_items"], report["items_searched"])),
        ]
    calls, times = load["calls"], load["milliseconds"]["by vector"]
    rows += [
        (f"`concurrent_load`, {load['index']['kind']} of {load['index']['size']:,}", f"{load['ran_s']:.0f} s"),
        ("", f"{calls['upsert'] + calls['delete']:,} writes, {calls['rebuild']} rebuilds one after the other"),
        ("", f"{load['answers_compared']:,} answers compared with the state of their sequence number"),
        ("", f"by vector: median {times['p50']} ms, p99 {times['p99']} ms, longest {times['max']} ms"),
    ]
    return "\n".join(["| script | what was done |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]) + "\n"


def _acknowledged(items: int, searches: int) -> str:
    return f"{items:,} items acknowledged, {searches:,} searches for one of them"


def index_table() -> str:
    """How the index compares with others, as docs/benchmarks.md shows it, from the committed result."""
    found = result("index")
    built = {one["name"]: one for one in found["contenders"]}
    rows = [
        "| recall@10 ≥ | index | setting | queries/s in batches | times exact flat | one query, p50 / p99 |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for turn in found["turns"]:
        names = built[turn["contender"]]["point_names"]
        setting = ", ".join(f"{name} {value:g}" for name, value in zip(names, turn["point"], strict=True))
        times = turn["batch_over_flat"]
        rows.append(
            f"| {turn['recall_target']} | {turn['contender']} | {setting} | {turn['batch_qps']:,.0f} "
            f"| {times['median']:.1f} ({times['low']:.1f} … {times['high']:.1f}) "
            f"| {turn['single_p50_ms']:.2f} / {turn['single_p99_ms']:.2f} ms |"
        )
    rows += ["", "| index | build | bytes per item beside the vectors |", "| --- | ---: | ---: |"]
    rows += [f"| {one['name']} | {one['build_s']:.0f} s | {one['bytes_per_item']:.1f} |" for one in built.values()]
    return measured_on(found["environment"]) + "\n".join(rows) + "\n"


def speed_table() -> str:
    """What a reader asks first about speed, as README shows it, from the committed results."""
    serving = {(line["section"], line["name"]): line["value"]["median"] for line in result("serving")["lines"]}
    life = result("live_catalogue")["sections"]
    live = {line["name"]: line["value"]["median"] for section in life.values() for line in section["lines"]}
    fast = {turn["recall_target"]: turn for turn in result("index")["turns"] if turn["contender"] == "clipsearch"}
    text, image = (
        " and ".join(f"{serving[kind, f'{precision}: served / raw']:.2f}" for precision in ("fp32", "int8"))
        for kind in ("text", "image")
    )
    rows = [
        ("ViT-B/32 texts served, over the raw ONNX Runtime session, fp32 and int8", text),
        ("ViT-B/32 from 512 x 512 JPEGs, decoding included, over the raw session", image),
        (
            "`Search` by text and by vector, over a gRPC servicer that returns ten fixed hits",
            " and ".join(f"{serving['search', f'by {kind}: served / bare']:.2f}" for kind in ("text", "vector")),
        ),
        *(
            (
                f"a million vectors of 512, recall@10 ≥ {target}, queries/s in batches",
                f"{turn['batch_qps']:,.0f}, {turn['batch_over_flat']['median']:.0f} times exact",
            )
            for target, turn in fast.items()
        ),
        ("durable upserts of ready vectors, 500 a call", f"{number(live['new items, 500 a call, 8 callers'])} items/s"),
        ("a million items: restart to the first answer, cold", f"{live['cold: first answer']:.1f} s"),
    ]
    return "\n".join(["| on two cores, no GPU | |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]) + "\n"


def facets_table() -> str:
    """What counting facets takes, as docs/facets.md shows it, from the committed result."""
    found = result("facets")
    rows = [f"| {found['settings']['n']:,} items, eight fields | median | min … max |", "| --- | ---: | ---: |"]
    for name, one in found["seconds"].items():
        if name != "writing":
            rows.append(f"| {name} | {one['median']:.3f} s | {one['low']:.3f} … {one['high']:.3f} |")
    for name, late in found["loop_lateness_ms"].items():
        rows.append(f"| an event loop wakes up late, {name} | {late['p50']:.2f} ms | p99 {late['p99']:.1f} |")
    return measured_on(found["environment"]) + "\n".join(rows) + "\n"


D = 512
GROWS: dict[str, Callable[[int, IvfPqShape], float]] = {
    "reading, writing": lambda n, shape: n,
    "checking": lambda n, shape: n,
    "training": lambda n, shape: shape.sample * shape.nlist,
    "adding": lambda n, shape: n * shape.nlist,
    "tuning": lambda n, shape: n / shape.nlist,
}
"""What the seconds of a stage of a build are proportional to, at the most."""


def growth_table() -> str:
    """What an index costs as it grows, as docs/index.md shows it: two sizes measured, and ten million worked out."""
    small, large, goal = 250_000, 1_000_000, 10_000_000
    quarter, million = _stages("live_catalogue_250k"), _stages("live_catalogue")
    sizes = [small, large, large, goal]
    columns = [quarter, million, _scaled(quarter, small, large), _scaled(million, large, goal)]
    shapes = [choose_shape(n, D) for n in sizes]
    held = [shape.m + 8 + 4 * D * shape.nlist / n for n, shape in zip(sizes, shapes, strict=True)]
    rows = {
        "nlist, training sample": [f"{shape.nlist:,}, {shape.sample:,}" for shape in shapes],
        **{stage: [f"{column[stage]:,.0f} s" for column in columns] for stage in GROWS},
        "build, on one core": [f"{sum(column.values()):,.0f} s" for column in columns],
        "codes, positions, centroids": [f"{one:.1f} bytes/item" for one in held],
        "the same and the re-rank vectors": [
            f"{n * (one + 2 * D) / 2**30:.2f} GiB" for n, one in zip(sizes, held, strict=True)
        ],
    }
    heading = "| d = 512 | 250,000, measured | 1,000,000, measured | 1,000,000 by the rule | 10,000,000 by the rule |"
    lines = [heading, "| --- | ---: | ---: | ---: | ---: |"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())]) + "\n"


def _stages(name: str) -> dict[str, float]:
    seconds = result(name)["sections"]["build"]["samples"]["stages_s"]
    moved = sum(seconds[stage] for stage in ("reading", "writing", "publishing"))
    return {stage: moved if stage == "reading, writing" else seconds[stage] for stage in GROWS}


def _scaled(seconds: dict[str, float], n: int, to: int) -> dict[str, float]:
    before, after = choose_shape(n, D), choose_shape(to, D)
    return {stage: seconds[stage] * grows(to, after) / grows(n, before) for stage, grows in GROWS.items()}


TABLES: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("docs/api.md", "api", lambda: api_reference(read_api())),
    ("docs/benchmarks.md", "index", index_table),
    ("docs/benchmarks.md", "live", lambda: lines_table("live_catalogue")),
    ("docs/benchmarks.md", "peers", peers_table),
    ("docs/benchmarks.md", "peers_avx2", lambda: peers_table("peers_avx2")),
    ("docs/benchmarks.md", "roofline", lambda: lines_table("roofline")),
    ("docs/benchmarks.md", "serving", lambda: lines_table("serving")),
    ("docs/catalogue.md", "faults", faults_table),
    ("docs/cli.md", "cli", cli_reference),
    ("docs/decisions/0008-event-loop.md", "event_loop", lambda: lines_table("event_loop")),
    ("docs/decisions/0011-fronts.md", "fronts", lambda: lines_table("fronts")),
    ("docs/decisions/0012-packed-texts.md", "packing", lambda: lines_table("packing")),
    ("docs/decisions/0014-int8-pairs.md", "int8_sums", lambda: lines_table("int8_sums")),
    ("docs/decisions/0014-int8-pairs.md", "int8_sums_vnni", lambda: lines_table("int8_sums_vnni")),
    ("docs/decisions/0013-batch-sizes.md", "batch_sizes", lambda: lines_table("batch_sizes")),
    ("docs/decisions/0016-cores-of-lone-runs.md", "lone_runs", lambda: lines_table("lone_runs")),
    ("docs/decisions/0009-jpegs.md", "jpegs", lambda: lines_table("jpegs")),
    ("docs/embed.md", "embed", lambda: lines_table("embed")),
    ("docs/errors.md", "errors", errors_table),
    ("docs/export.md", "gate", gate_table),
    ("docs/export.md", "precisions", precisions_table),
    ("docs/facets.md", "facets", facets_table),
    ("docs/failures.md", "endurance", endurance_table),
    ("docs/gpu.md", "gpu_encoders", gpu_encoders_table),
    ("docs/index.md", "growth", growth_table),
    ("docs/ingest.md", "rejects", rejects_table),
    ("docs/load-testing.md", "load", load_table),
    ("docs/monitoring.md", "metrics", metrics.markdown_table),
    ("docs/operating.md", "collections", collection_table),
    ("docs/operating.md", "models", model_table),
    ("docs/overload.md", "overload", lambda: lines_table("overload")),
    ("docs/security.md", "costs", lambda: lines_table("security", shows_a_cost)),
    ("docs/security.md", "scopes", scopes.markdown_table),
    ("docs/settings.md", "settings", markdown_table),
    ("docs/tuning.md", "batches", batch_table),
    ("docs/tuning.md", "concurrency", concurrency_table),
    ("docs/tuning.md", "cpu", cpu_table),
    ("docs/tuning.md", "idle", idle_table),
    ("docs/tuning.md", "recall", recall_table),
    ("docs/tuning.md", "writes", writes_table),
    ("README.md", "figures", quality_table),
    ("README.md", "speed", speed_table),
    ("README.md", "peers", peers_summary),
)
"""Which page holds what, between which markers, and what makes it."""


if __name__ == "__main__":
    for page, name, make in TABLES:
        replace(ROOT / page, name, make())
