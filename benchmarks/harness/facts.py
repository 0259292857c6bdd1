"""The machine, the versions and the commit that figures were measured with."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("onnxruntime", "grpcio", "protobuf", "faiss-cpu", "numpy", "pillow", "cykooz-resizer", "tokenizers")


def environment(root: Path) -> dict[str, object]:
    """Return what a reader needs to judge the figures by; ``root`` is the repository."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_sha": _output(["git", "rev-parse", "HEAD"], root),
        "git_dirty": bool(_output(["git", "status", "--porcelain"], root)),
        "load_average_1min": round(os.getloadavg()[0], 2),
        "busy": os.getloadavg()[0] > 0.5,
    }


def cpu_model(cpuinfo: str) -> str:
    """Return the processor's name, with its stepping: virtual machines tend to call all of them the same."""
    pairs = (line.partition(":") for line in cpuinfo.split("\n\n", 1)[0].splitlines())
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    numbers = "/".join(fields.get(name, "?") for name in ("cpu family", "model", "stepping"))
    return f"{fields.get('model name', 'unknown')} (family/model/stepping {numbers})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _output(command: list[str], root: Path) -> str | None:
    try:
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
