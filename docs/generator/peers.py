"""docs/benchmarks.md: other servers beside ours, from the committed run of benchmarks/peers."""

from typing import Any

from benchmarks.harness.report import number
from benchmarks.peers.figures import tables
from docs.generator.results import measured_on, result

OURS = "clipsearch"


def peers_table(name: str = "peers") -> str:
    """Where and how it was measured, the versions, a table for texts and one for pictures, and who is missing why."""
    found = result(name)
    return measured_on(found["environment"]) + how(found["settings"]) + tables(found)


def peers_summary() -> str:
    """What README shows of it: throughput of both towers beside ours, slowest calls, and memory, most texts first."""
    found = result("peers")
    summary = found["summary"]
    ours = summary[OURS]["towers"]
    model = f"{found['settings']['precision']} ViT-B/32"
    lines = [
        f"| {model} | texts/s | of ours | p99, ms | pictures/s | of ours | p99, ms | MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in sorted(summary.items(), key=lambda entry: -_rate(entry[1]["towers"], "text")):
        cells = []
        for tower in ("text", "image"):
            known = tower in one["towers"]
            rate = _rate(one["towers"], tower) if known else 0.0
            slowest = one["towers"].get(tower, {}).get("p99_ms_at_0.8")
            cells += [number(rate), f"{rate / _rate(ours, tower):.2f}"] if known else ["", ""]
            cells.append(number(slowest["median"]) if slowest else "")
        lines.append(f"| {name} | {' | '.join(cells)} | {one['peak_mib']['median']:,.0f} |")
    return "\n".join(lines) + "\n"


def _rate(towers: dict[str, Any], tower: str) -> float:
    return float(towers[tower]["per_second"]["median"])


def how(settings: dict[str, Any]) -> str:
    """One paragraph: rounds, whether they were hurried, precision, calls in flight and the peers' versions."""
    rounds = settings["pace"]["rounds"]
    made = "One round" if rounds == 1 else f"Medians of {rounds} rounds (smallest … largest)"
    hurried = ", hurried: for a look and not for figures" if settings["quick"] else ""
    versions = ", ".join(f"{name} {one['version']}" for name, one in _versions(settings).items())
    flight = " and ".join(f"{count} {tower}s" for tower, count in settings["in_flight"].items())
    return (
        f"{made}{hurried}; {settings['precision']} graphs; {flight} in flight at saturation; beside clipsearch "
        f"{versions}.\n\n"
    )


def _versions(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The peers with a version, one of each package: variants of a peer have its name, a comma and what varies."""
    return {name: one for name, one in settings["peers"].items() if one["version"] and "," not in name}
