"""What runs for long and what it found, from the committed results of the fault suite's commands."""

from docs.generator.results import result


def endurance_table() -> str:
    """The rows of docs/failures.md, "At length"."""
    storm, soak, fuzz = map(result, ("faults_cancel_storm", "faults_soak", "fuzz"))
    calls, settings = soak["calls"], soak["settings"]
    writes = sum(calls[kind] for kind in ("upsert", "delete"))
    wrong = sum(soak["wrong"].values())
    rows = [
        (
            f"soak, {settings['minutes']:g} minutes",
            f"{sum(calls.values()):,} calls of {len(calls)} kinds, {writes:,} of them writes; "
            f"{soak['rebuilds']} rebuilds",
        ),
        (
            "",
            f"{wrong} ended wrongly; resident memory {soak['mib_per_minute']:+.2f} MiB a minute after the warm-up, "
            f"{soak['anonymous_mib_per_minute']:+.2f} of them no file's",
        ),
        (
            "cancel storm",
            f"{storm['ends']['CANCELLED']:,} calls cancelled, {storm['ends']['OK']:,} answered before that",
        ),
        (
            "",
            f"resident memory {storm['kib_per_1000']:+.1f} KiB per 1,000 of them after the warm-up, "
            f"{storm['resident_mib'][-1]:.0f} MiB in the end",
        ),
        (
            "fuzz",
            f"{fuzz['pictures']['sent']:,} pictures and {fuzz['messages']['sent']:,} messages; "
            f"{len(fuzz['pictures']['improper']) + len(fuzz['messages']['improper'])} without a proper status",
        ),
    ]
    return "\n".join(["| command | what was found |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]) + "\n"
