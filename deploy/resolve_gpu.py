"""Resolves what the GPU image installs, without installing it, and looks for CUDA libraries that come twice.

    python deploy/resolve_gpu.py

Two CUDA majors in one process do not work, and two copies of a library are a gigabyte for nothing. Needs a package
index and a pip of 26 or newer; nothing is kept.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from requirements import requirements

ROOT = Path(__file__).parents[1]
CUDA_MAJOR = "13"
OF_CUDA = re.compile(r"(nvidia|cuda|cupy|lib(cuvs|raft|rmm))\b.*")
AS_OLD_AS_CUDA = {"cuda-toolkit", "nvidia-cuda-runtime", "nvidia-cuda-nvrtc", "nvidia-cublas", "nvidia-nvjitlink"}
"""Packages whose major version is CUDA's."""


def faults(resolved: Mapping[str, str]) -> list[str]:
    """Return what is wrong with resolved packages, by name and version: libraries of two majors, or of another one."""
    libraries: defaultdict[str, list[str]] = defaultdict(list)
    found = []
    for name, version in resolved.items():
        if not OF_CUDA.fullmatch(name):
            continue
        libraries[re.sub(r"-cu(da)?\d+x?$", "", name)].append(name)
        major = re.search(r"cu(?:da)?(\d\d)x?$", name)
        if major is not None and major[1] != CUDA_MAJOR:
            found.append(f"{name} is for CUDA {major[1]}")
        if name in AS_OLD_AS_CUDA and version.split(".")[0] != CUDA_MAJOR:
            found.append(f"{name} is {version}, not of CUDA {CUDA_MAJOR}")
    found += [f"{' and '.join(names)} are one library" for names in libraries.values() if len(names) > 1]
    if "onnxruntime" in resolved and "onnxruntime-gpu" in resolved:
        found.append("onnxruntime and onnxruntime-gpu overwrite each other")
    return found


def resolve() -> dict[str, str]:
    """Return the packages of the GPU image and their versions, for Python 3.12 on Linux."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--python-version", "3.12", "--only-binary", ":all:", "--target", directory]
        command += ["--constraint", str(ROOT / "constraints.txt"), "--report", str(report)]
        subprocess.run([*command, *requirements(project, ["gpu", "tracing"])], check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {one["metadata"]["name"].lower(): one["metadata"]["version"] for one in found}


if __name__ == "__main__":
    packages = resolve()
    print("\n".join(f"{name} {version}" for name, version in sorted(packages.items()) if OF_CUDA.fullmatch(name)))
    if wrong := faults(packages):
        sys.exit("\n".join(wrong))
