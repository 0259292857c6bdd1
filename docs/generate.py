"""Rewrites the parts of docs/ that are made from the code, between their markers."""

import json
import re
from pathlib import Path

from clipsearch.settings import markdown_table

DOCS = Path(__file__).parent
ROOT = DOCS.parent


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
    result = json.loads((ROOT / "benchmarks/results/quality.json").read_text(encoding="utf-8"))
    figures, settings = result["figures"], result["settings"]
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
    writer, server, load = (
        json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
        for name in ("faults_kill_writer", "faults_kill_server", "concurrent_load")
    )
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


if __name__ == "__main__":
    replace(DOCS / "catalogue.md", "faults", faults_table())
    replace(DOCS / "settings.md", "settings", markdown_table())
    replace(ROOT / "README.md", "figures", quality_table())
