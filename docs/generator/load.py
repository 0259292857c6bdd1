"""The steps of a run of the load suite, from its committed result."""

from docs.generator.results import measured_on, result


def load_table() -> str:
    """The rows of docs/load-testing.md."""
    found = result("load")
    objective = found["within_objective"]
    rate = "no step" if objective is None else f"{objective:,.0f} calls a second"
    lines = [
        measured_on(found["environment"]).rstrip(),
        "",
        f"`{found['settings']['user']}` on the sample model: {found['capacity']:,.0f} calls a second in a closed loop; "
        f"with p99 within {found['objective_ms']:g} ms and less than 0.1 % failed, {rate}.",
        "",
        "| load | offered/s | answered/s | p50 | p90 | p99 | p99.9 | failed | sent late, p99 |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for step in found["steps"]:
        latency = step["latency_ms"]
        shares = " | ".join(f"{latency[share]:,.1f} ms" for share in ("50", "90", "99", "99.9"))
        lines.append(
            f"| {step['multiple']:g} x | {step['offered']:,.1f} | {step['answered']:,.1f} | {shares} | "
            f"{100 * step['failed_share']:.2f} % | {step['lag_p99_ms']:.1f} ms |"
        )
    return "\n".join(lines) + "\n"
