"""Prints what extras of pyproject.toml need, a line each: so that an image has its packages in a layer of theirs.

python deploy/requirements.py gpu tracing
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

OWN = re.compile(r"clipsearch\[([\w, ]+)\]")
"""An extra that takes in others of ours."""


def requirements(project: Mapping[str, Any], extras: Sequence[str]) -> list[str]:
    """Return the requirements of the package with these extras, each once; KeyError for an extra there is not."""
    return sorted({*project["dependencies"], *(one for extra in extras for one in _of(project, extra))})


def _of(project: Mapping[str, Any], extra: str) -> Iterator[str]:
    for requirement in project["optional-dependencies"][extra]:
        own = OWN.fullmatch(requirement)
        if own is None:
            yield requirement
        else:
            for name in own[1].split(","):
                yield from _of(project, name.strip())


if __name__ == "__main__":
    here = Path(__file__).parent
    found = next(path for path in (here / "pyproject.toml", here.parent / "pyproject.toml") if path.exists())
    print("\n".join(requirements(tomllib.loads(found.read_text(encoding="utf-8"))["project"], sys.argv[1:])))
