"""docs/security.md: what decoding in processes, keys and TLS cost, from the committed benchmark."""

from benchmarks.harness.report import Line


def shows_a_cost(line: Line) -> bool:
    """Whether a line compares a way with going without, or is what that is beside."""
    return line.name.startswith("processes / threads") or line.name.endswith(("CPU added", "open: CPU per call"))
