"""One command to accept a GPU: parity with the CPU, the GPU tests, and the first measurements, within eight minutes.

    python benchmarks/gpu/acceptance.py --out DIR

Needs the gpu and export extras and pytest, and no network; the server end to end is measured where CLIP's tokenizer is
at hand (``--tokenizer``). Writes acceptance.json, acceptance.md and what each part wrote besides. Exits with 1 where a
check fails, each of them named, and with 2 where there is no GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
TOKENIZER: Final = ROOT.parent / "shared" / "data" / "clip_tokenizer"
BUDGET_S: Final = 480.0
SMALL, LARGE = 200_000, 1_000_000
"""Vectors of the two indexes: one that the CPU answers as well, and one of the size that the aims are for."""

MIN_COSINE, MIN_OVERLAP, MIN_RECALL = 0.999, 0.90, 0.95
AIM_QUERIES_S: Final = 100_000.0
AIMS_SERVED: Final = {"search by text": 5_000.0, "embed image": 3_000.0}
"""Calls a second that one process answers, by kind."""
AIM_OF_PEAK: Final = 0.5


@dataclass(frozen=True, slots=True)
class Section:
    """A part: what to run, and the most time it may take, in seconds.

    ``needed``: the card is not accepted without it. What has aims alone may find no time left.
    """

    name: str
    command: Sequence[str]
    limit_s: float
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """A figure and what it must be at least; one that is only an aim fails nobody."""

    name: str
    value: float | None
    least: float
    aim: bool = False

    @property
    def verdict(self) -> str:
        """How it went: PASS, FAIL, short of an aim, or not measured."""
        if self.value is None:
            return "not measured" if self.aim else "FAIL: not measured"
        if self.value >= self.least:
            return "PASS"
        return "short" if self.aim else "FAIL"

    @property
    def failed(self) -> bool:
        """Whether the card is not accepted for it."""
        return self.verdict.startswith("FAIL")


def sections(out: Path, tokenizer: Path) -> list[Section]:
    """Return the parts in their order: what must hold first, what takes long last. Without a tokenizer, none served."""
    here = str(ROOT / "benchmarks" / "gpu")
    to = ["--out", str(out)]
    work = ["--work", str(out / "work")]
    pytest = ["-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={ROOT}", "--confcutdir=tests/gpu", "tests/gpu"]
    served = [f"{here}/served.py", *to, *work, "--n", str(SMALL), "--seconds", "3", "--tokenizer", str(tokenizer)]
    parts = [
        Section("tests", pytest, 120.0),
        Section("encoders", [f"{here}/encoders.py", *to, "--models", "vit-b-32", "--seconds", "0.3"], 150.0),
        Section("small index", [f"{here}/index.py", *to, *work, "--n", str(SMALL), "--cpu"], 120.0),
        Section("large index", [f"{here}/index.py", *to, *work, "--n", str(LARGE)], 240.0),
        Section("pictures", [f"{here}/jpegs.py", *to, "--seconds", "0.3"], 60.0, needed=False),
    ]
    return [*parts, Section("served", served, 200.0, needed=False)] if tokenizer.is_dir() else parts


def run(parts: Sequence[Section], budget_s: float) -> dict[str, dict[str, Any]]:
    """Run the parts, each within its limit and what is left of the budget; returns how each ended."""
    over = time.monotonic() + budget_s
    ended: dict[str, dict[str, Any]] = {}
    paths = os.pathsep.join([*(str(ROOT / name) for name in ("server", "export", "demo")), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([paths, os.environ.get("PYTHONPATH", "")])}
    for part in parts:
        began = time.monotonic()
        status, said = _run_one(part, min(part.limit_s, over - began), environment)
        seconds = round(time.monotonic() - began, 1)
        ended[part.name] = {"status": status, "seconds": seconds, "said": said, "needed": part.needed}
    return ended


def _run_one(part: Section, limit_s: float, environment: Mapping[str, str]) -> tuple[int | None, str]:
    """Return a part's exit status, None where it had not the time, and the last of what it said."""
    if limit_s <= 0.0:
        return None, "no time was left for it"
    print(f"{part.name}: at most {limit_s:.0f} s", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            [sys.executable, *part.command],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, f"not done in {limit_s:.0f} s"
    return done.returncode, (done.stdout + done.stderr)[-3000:]


def checks(ended: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]) -> list[Check]:
    """Return the verdicts on what the parts ended with and wrote; ``found`` is what they wrote, by part."""
    judged = [
        Check(f"{name}: ran", float(one["status"] == 0), 1.0, aim=not one["needed"]) for name, one in ended.items()
    ]
    encoders, small, large = (found.get(name, {}) for name in ("encoders", "small index", "large index"))
    parity = [one["min_cosine"] for one in encoders.get("parity", ())]
    judged.append(Check("towers: smallest cosine with the CPU's float32", min(parity, default=None), MIN_COSINE))
    overlap = small.get("cpu", {}).get("overlap")
    judged.append(Check(f"index of {SMALL:,}: part of ids as on the CPU", overlap, MIN_OVERLAP))
    for name, index in ((f"index of {SMALL:,}", small), (f"index of {LARGE:,}", large)):
        judged.append(Check(f"{name}: recall@10", (index.get("chosen") or {}).get("recall"), MIN_RECALL))
        filtered = index.get("filtered", {})
        judged.append(Check(f"{name}: recall@10 within a filter", filtered.get("recall"), MIN_RECALL))
        kept = filtered.get("all_selected")
        judged.append(
            Check(f"{name}: nothing else than the filter lets through", None if kept is None else float(kept), 1.0)
        )
    rates = [one["queries_s"] for one in large.get("rates", ()) if one["batch"] >= 256]
    judged.append(
        Check(
            f"index of {LARGE:,}: queries/s in batches of 256 or more",
            max(rates, default=None),
            AIM_QUERIES_S,
            aim=True,
        )
    )
    answered = {one["name"]: one["closed"]["answered_s"] for one in found.get("served", {}).get("works", ())}
    for name, aim in AIMS_SERVED.items():
        judged.append(Check(f"served, {name}: calls/s", answered.get(name), aim, aim=True))
    alike = found.get("pictures", {}).get("parity", {}).get("min_cosine")
    judged.append(Check("JPEGs by the GPU: smallest cosine with Pillow's", alike, MIN_COSINE, aim=True))
    return [*judged, *_speeds(encoders.get("figures", ()))]


def _speeds(figures: Sequence[Mapping[str, Any]]) -> list[Check]:
    """The aims for the towers: beside PyTorch in the same run, and beside the card's own peak."""
    aims = []
    for model, tower in dict.fromkeys((one["model"], one["tower"]) for one in figures):
        mine = [one for one in figures if (one["model"], one["tower"]) == (model, tower)]
        torch = max((one["items_s"] for one in mine if one["way"].startswith("torch")), default=None)
        served = [one for one in mine if not one["way"].startswith("torch") and "fused" not in one["way"]]
        ours = max(one["items_s"] for one in served)
        aims.append(
            Check(f"{model} {tower}: best over PyTorch's", None if torch is None else ours / torch, 1.0, aim=True)
        )
        if tower == "image":
            best = max(one["of_peak"] for one in served)
            aims.append(Check(f"{model} {tower}: part of the card's peak", best, AIM_OF_PEAK, aim=True))
    return aims


def table(judged: Sequence[Check], ended: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the verdicts and the times as Markdown."""
    lines = ["| check | found | at least | |", "| --- | ---: | ---: | --- |"]
    for one in judged:
        value = "" if one.value is None else f"{one.value:,.4g}"
        lines.append(f"| {one.name} | {value} | {one.least:,g} | {one.verdict} |")
    lines += ["", "| part | seconds |", "| --- | ---: |"]
    lines += [f"| {name} | {one['seconds']:g} |" for name, one in ended.items()]
    return "\n".join(lines) + "\n"


def gpu_name() -> str | None:
    """Return the first GPU's name; None where there is none, or no CuPy to ask with."""
    try:
        import cupy
    except ImportError:
        return None
    try:
        name: str = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except cupy.cuda.runtime.CUDARuntimeError:
        return None
    return name


def main(argv: Sequence[str] | None = None) -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description="Accept a GPU: parity, tests, first measurements.")
    parser.add_argument("--out", type=Path, required=True, help="directory of the results")
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, help="for all of it")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory of CLIP's tokenizer")
    given = parser.parse_args(argv)
    device = gpu_name()
    if device is None:
        print("There is no GPU here, or no CuPy to reach it with (pip install 'clipsearch[gpu]').", file=sys.stderr)
        sys.exit(2)
    given.out.mkdir(parents=True, exist_ok=True)
    ended = run(sections(given.out.resolve(), given.tokenizer.resolve()), given.budget_s)
    files = {
        "encoders": "encoders", "small index": f"index-{SMALL}", "large index": f"index-{LARGE}",
        "pictures": "jpegs", "served": "served",
    }  # fmt: skip
    paths = {part: given.out / f"{name}.json" for part, name in files.items()}
    found = {part: json.loads(path.read_text(encoding="utf-8")) for part, path in paths.items() if path.exists()}
    judged = checks(ended, found)
    verdicts = [{**asdict(one), "verdict": one.verdict} for one in judged]
    document = {"device": device, "checks": verdicts, "parts": ended, **found}
    (given.out / "acceptance.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    text = table(judged, ended)
    (given.out / "acceptance.md").write_text(text, encoding="utf-8")
    print(text)
    failures = [one.name for one in judged if one.failed]
    if failures:
        for part, one in ended.items():
            if one["status"] != 0:
                print(f"{part}:\n{one['said']}", file=sys.stderr)
        sys.exit(f"not accepted: {'; '.join(failures)}")


if __name__ == "__main__":
    main()
