"""The towers on a GPU, from the committed result of benchmarks/gpu/encoders.py."""

from docs.generator.results import result

WAYS = {
    "session.run": "`session.run`",
    "session.run, float32 pixels": "the same, pixels as float32",
    "bound": "bound buffers",
    "bound, two in flight": "two in flight",
    "captured, two in flight": "captured launches",
    "session.run, fused, exact norms": "`session.run`, fused, exact norms",
    "captured, two in flight, fused": "captured, fused",
    "torch": "PyTorch",
    "torch, compiled": "PyTorch, compiled",
}


def gpu_encoders_table() -> str:
    """Items a second by batch and way of running, a block of rows for each tower."""
    found = result("gpu/encoders")
    rates = {(one["model"], one["tower"], one["batch"], one["way"]): one for one in found["figures"]}
    ways = [way for way in WAYS if any(key[3] == way for key in rates)]
    lines = [
        f"{found['device']}, whose float16 matrix products reach {found['peak_tflops']:.0f} TFLOP/s in the same run; "
        f"texts of {found['length']} tokens; items/s.",
        "",
        f"| tower | batch | {' | '.join(WAYS[way] for way in ways)} | best, of the peak |",
        f"| --- | ---: | {'---: | ' * len(ways)}---: |",
    ]
    for model, tower, batch in dict.fromkeys(key[:3] for key in rates):
        several = [rates.get((model, tower, batch, way)) for way in ways]
        cells = ["" if one is None else f"{one['items_s']:,.0f}" for one in several]
        best = max(one["of_peak"] for one in several if one is not None and "fused" not in one["way"])
        lines.append(f"| {model} {tower} | {batch} | {' | '.join(cells)} | {100 * best:.1f} % |")
    lines += ["", "Cosines with the float32 graph on the CPU, smallest: " + ", ".join(_parity(found)) + "."]
    return "\n".join(lines) + "\n"


def _parity(found: dict[str, object]) -> list[str]:
    parity: list[dict[str, float]] = found["parity"]  # type: ignore[assignment]
    return [f"{one['model']} {one['tower']} {one['min_cosine']:.6f}" for one in parity]
