"""docs/export.md: what the gate asks of each precision, and what it takes and gives."""

from benchmarks.harness.report import number
from clipsearch.encoders.manifest import PRECISIONS
from clipsearch_export.parity import REQUIREMENTS
from docs.generator.results import result

MIB = 2**20


def gate_table() -> str:
    """What the parity gate asks of each precision."""
    lines = ["| precision | smallest cosine | mean cosine |", "| --- | ---: | ---: |"]
    for precision in PRECISIONS:
        least = REQUIREMENTS[precision]
        smallest = f"{least.min_cosine}" if least.min_cosine > 0 else "any"
        lines.append(f"| {precision} | {smallest} | {least.mean_cosine} |")
    return "\n".join(lines) + "\n"


def precisions_table() -> str:
    """What a ViT-B/32 of each precision takes on disk, and serves on the two cores of the serving benchmark."""
    sizes = result("sizing")["bundle_bytes"]
    served = {(line["section"], line["name"]): line["value"]["median"] for line in result("serving")["lines"]}
    lines = ["| precision | ViT-B/32 on disk | texts/s on two cores | pictures/s |", "| --- | ---: | ---: | ---: |"]
    for precision in PRECISIONS:
        rates = (served.get((tower, f"{precision}: served")) for tower in ("text", "image"))
        cells = (
            f"{sizes[precision] / MIB:,.0f} MiB",
            *("not served" if rate is None else number(rate) for rate in rates),
        )
        lines.append(f"| {precision} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
