"""The index beside others: recall, speed, memory and build time, on the same vectors in one run.

``python -m benchmarks.index`` makes clustered vectors (clustered_vectors.py says why and how), builds all contenders on
them, measures its recall-speed curve, and then lets all take turns at the fastest point at which each reaches a
recall@10 of 0.95 and of 0.99, for pictures and for texts. Batches run with all threads, single queries with one.
It needs the peers extra: ``pip install '.[peers]'``.
``--sample`` takes the sample catalogue's embeddings instead of clustered vectors. ``--quick`` is for trying it out;
``--out`` writes JSON, and beside it the curves as a PNG.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clustered_vectors import Clustered, clustered
from benchmarks.harness.context import FULL
from benchmarks.harness.facts import environment
from benchmarks.index_harness.contenders import CONTENDERS, Clipsearch, Contender, Flat, Float32
from benchmarks.index_harness.measure import K, OnCurve, Truth, Turns, curve, fastest, frontier, take_turns
from benchmarks.index_harness.sample import sample_vectors
from clipsearch.index.exact import exact_top_k
from clipsearch.index.threads import available_cores, limit_blas

ROOT = Path(__file__).parents[1]
TARGETS = (0.95, 0.99)


def main() -> None:
    """Build, measure, print; write the figures where asked to."""
    arguments = _arguments()
    threads = available_cores()
    data = _vectors(arguments)
    # What float16 keeps: all contenders and the truth see the same vectors.
    base: Float32 = data.base.astype(np.float16).astype(np.float32)
    # Every other text is for tuning; the others measure.
    truths = [_truth(queries, base, threads) for queries in (data.image_queries, data.text_queries[1::2])]
    contenders: list[Contender] = []
    curves: dict[str, list[OnCurve]] = {}
    for name in dict.fromkeys((Flat.name, *arguments.contender)):
        contender = CONTENDERS[name](base, data, threads, arguments.seed)
        contenders.append(contender)
        curves[name] = curve(contender, base, truths, threads)
        print(f"{name}: built in {contender.build_s:.1f} s, {contender.bytes_per_item:.1f} bytes an item", flush=True)
        for point in curves[name]:
            settings = ", ".join(f"{k} {v:g}" for k, v in zip(contender.point_names, point.point, strict=True))
            print(
                f"  {settings:<28} images {point.image_recall:.4f}  texts {point.text_recall:.4f}"
                f"  {point.batch_qps:>9,.0f} queries/s",
                flush=True,
            )
    summaries = _turns(contenders, curves, data.image_queries, arguments, threads)
    if arguments.out is not None:
        _write(arguments, contenders, curves, summaries)


def _vectors(arguments: argparse.Namespace) -> Clustered:
    if not arguments.sample:
        return clustered(arguments.n, arguments.d, arguments.queries, arguments.seed)
    data = sample_vectors(ROOT / "build" / "bench", FULL.catalogue_items, arguments.queries, arguments.seed)
    arguments.n, arguments.d = data.base.shape
    return data


def _turns(
    contenders: list[Contender],
    curves: dict[str, list[OnCurve]],
    queries: Float32,
    arguments: argparse.Namespace,
    threads: int,
) -> list[dict[str, object]]:
    summaries = []
    for target in TARGETS:
        entries = []
        for contender in contenders:
            point = fastest(curves[contender.name], target)
            if point is None:
                print(f"{contender.name} reaches no recall of {target}")
            else:
                entries.append((contender, Turns(contender.name, point.point, target)))
        take_turns(entries, queries, arguments.rounds, arguments.singles, threads)
        flat = entries[0][1]
        print(f"\nfastest points with recall@{K} >= {target}, medians of {arguments.rounds} rounds")
        for _, turns in entries:
            summary: dict[str, Any] = turns.summary(flat)
            summaries.append(summary)
            print(
                f"  {turns.contender:<22}{summary['batch_qps']:>10,.0f}/s in batches,"
                f" {summary['batch_over_flat']['median']:>6.1f} x flat;"
                f" single p50 {summary['single_p50_ms']:.2f} ms, p99 {summary['single_p99_ms']:.2f} ms"
            )
    return summaries


def _truth(queries: Float32, base: Float32, threads: int) -> Truth:
    limit_blas(1)
    with ThreadPoolExecutor(threads) as pool:
        scores, _ = exact_top_k(queries, base, K, pool)
    return Truth(queries, scores[:, -1])


def _write(
    arguments: argparse.Namespace,
    contenders: list[Contender],
    curves: dict[str, list[OnCurve]],
    summaries: list[dict[str, object]],
) -> None:
    tuned = next((each.manifest for each in contenders if isinstance(each, Clipsearch)), None)
    document = {
        "benchmark": "index",
        "settings": {key: value for key, value in vars(arguments).items() if key != "out"},
        "environment": environment(ROOT),
        "tuned": None if tuned is None else tuned.model_dump(include={"ivfpq", "image_recall", "text_recall"}),
        "contenders": [
            {
                "name": each.name,
                "build_s": each.build_s,
                "bytes_per_item": each.bytes_per_item,
                "point_names": each.point_names,
                "curve": [asdict(point) for point in curves[each.name]],
            }
            for each in contenders
        ],
        "turns": summaries,
    }
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _plot(curves, arguments)


def _plot(curves: dict[str, list[OnCurve]], arguments: argparse.Namespace) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(12, 5), sharey=True)
    for axes, kind in zip(panels, ("image", "text"), strict=True):
        for name, points in curves.items():
            best = frontier([(getattr(point, f"{kind}_recall"), point.batch_qps) for point in points])
            axes.plot(*zip(*best, strict=True), marker="o", markersize=4, label=name)
        axes.set_yscale("log")
        axes.set_xlim(0.8, 1.005)
        axes.set_xlabel(f"recall@{K}, {kind} queries")
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("queries per second, in one batch")
    panels[0].legend()
    kind = "embeddings of the sample catalogue" if arguments.sample else "clustered vectors"
    figure.suptitle(f"{arguments.n:,} x {arguments.d} {kind}, {available_cores()} cores")
    figure.tight_layout()
    figure.savefig(arguments.out.with_suffix(".png"), dpi=120)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000, help="of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--singles", type=int, default=100, help="single queries in each round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contender", action="append", choices=list(CONTENDERS), help="only this one; may be repeated")
    parser.add_argument("--sample", action="store_true", help="the sample catalogue's embeddings; needs the demo extra")
    parser.add_argument("--quick", action="store_true", help="30,000 x 64: for trying, not for figures")
    parser.add_argument("--out", type=Path, help="JSON to write; the curves go beside it as a PNG")
    arguments = parser.parse_args()
    arguments.contender = arguments.contender or list(CONTENDERS)
    if arguments.quick:
        arguments.n, arguments.d, arguments.queries, arguments.rounds, arguments.singles = 30_000, 64, 200, 2, 20
    return arguments


if __name__ == "__main__":
    main()
