"""The packages we build on: all pinned, and none with a known vulnerability. Part of ``make lint``.

The first needs no network. The second asks the advisory service of PyPI through pip-audit, which says "no known
vulnerabilities" also where a mirror answers in PyPI's place and knows of none. So a release that is known to be
vulnerable is asked about first: where that is not found, the second part is skipped, which is said and is no failure.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
CANARY = "pillow==8.0.0"
"""A release with many published vulnerabilities (PYSEC-2021-35 is one), which nobody uses here."""

TIMEOUT_S = 120.0
ACCEPTED: Mapping[str, str] = {}
"""Ids of vulnerabilities that do not concern us, and why."""

_OF_THE_ENVIRONMENT = {"pip", "setuptools"}
"""What installs the rest, and comes with Python rather than with us."""

Ask = Callable[[str], list[dict[str, Any]]]


class Unanswered(Exception):
    """Nobody said whether packages are vulnerable."""


def main() -> int:
    """Print what is wrong; returns the exit status."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    complaints = list(unpinned(required(ROOT / "pyproject.toml", "dev"), constraints))
    try:
        complaints += vulnerable(constraints, ask_pip_audit)
    except Unanswered as why:
        print(f"audit: known vulnerabilities were NOT looked for: {why}")
    for complaint in complaints:
        print(f"audit: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


def required(pyproject: Path, extra: str) -> list[Requirement]:
    """Return what the project requires with an extra, extras of its own that this names resolved."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    found, waiting = [Requirement(text) for text in project["dependencies"]], [extra]
    for name in waiting:
        for requirement in map(Requirement, project["optional-dependencies"][name]):
            if requirement.name == project["name"]:
                waiting += requirement.extras - set(waiting)
            else:
                found.append(requirement)
    return found


def unpinned(requirements: Iterable[Requirement], constraints: str) -> Iterator[str]:
    """Complain of what is installed for these, directly or not, and not pinned, or pinned to another version."""
    pins = {canonicalize_name(one.name): one for one in map(Requirement, _lines(constraints))}
    waiting, seen = list(requirements), set()
    for requirement in waiting:
        name = canonicalize_name(requirement.name)
        if (name, *sorted(requirement.extras)) in seen or not _applies(requirement, ()):
            continue
        seen.add((name, *sorted(requirement.extras)))
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            yield f"{name} is required and not installed"
            continue
        # Without "+cpu" and the like, by which the same release is built differently.
        version = Version(installed.version).public
        if name in _OF_THE_ENVIRONMENT:
            continue
        if name not in pins:
            yield f"{name} {version} is installed and constraints.txt does not pin it"
        elif not pins[name].specifier.contains(version, prereleases=True):
            yield f"{name} {version} is installed and constraints.txt says {pins[name].specifier}"
        further = map(Requirement, installed.requires or ())
        waiting += [_bare(one) for one in further if _applies(one, requirement.extras)]


def vulnerable(constraints: str, ask: Ask) -> list[str]:
    """Complain of pinned packages with known vulnerabilities. Raises Unanswered where nobody says."""
    if not any(one.get("vulns") for one in ask(CANARY)):
        raise Unanswered(f"the package index has no advisories, or {CANARY} would have some")
    complaints = []
    for one in ask(constraints):
        if "skip_reason" in one:
            complaints.append(f"{one['name']} could not be audited: {one['skip_reason']}")
        for found in one.get("vulns", ()):
            if found["id"] not in ACCEPTED:
                fixed = ", ".join(found["fix_versions"]) or "no release"
                complaints.append(f"{one['name']} {one['version']} has {found['id']}, fixed in {fixed}")
    return complaints


def ask_pip_audit(requirements: str) -> list[dict[str, Any]]:
    """Return pip-audit's report of pinned requirements, one entry for each. Raises Unanswered."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(requirements)
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        command += ["--timeout", "10", "--format", "json", "--requirement", file.name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise Unanswered(f"pip-audit took more than {TIMEOUT_S:g} s") from error
    try:
        report: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        last = done.stderr.strip().rpartition("\n")[2]
        raise Unanswered(f"pip-audit ended with status {done.returncode}: {last[:300]}") from error
    return report


def _lines(constraints: str) -> Iterator[str]:
    return (line for line in map(str.strip, constraints.splitlines()) if line and not line.startswith("#"))


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _bare(requirement: Requirement) -> Requirement:
    """Without its marker, which spoke of the extras of whoever requires it and has been looked at."""
    bare = Requirement(str(requirement))
    bare.marker = None
    return bare


if __name__ == "__main__":
    sys.exit(main())
