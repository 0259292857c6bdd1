"""Runs the examples of the guides on the sample catalogue and puts in what they print: ``python -m docs.walk``.

Draws the catalogue first where there is none (a minute). Look at the differences before they are committed: times
change with every run, hits and scores should not.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from docs.generator.walk import ROOT, is_walked, place, walk


def main() -> None:
    """Walk the guides that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=ROOT / "build/demo", help="where `make demo` works")
    parser.add_argument("guides", nargs="*", type=Path, default=sorted((ROOT / "docs").glob("*.md")))
    arguments = parser.parse_args()
    if not (arguments.demo / "queries").is_dir():
        demo = [sys.executable, "-m", "clipsearch", "demo", "--once", "--port", "0", "--work", str(arguments.demo)]
        subprocess.run(demo, check=True)
    for guide in arguments.guides:
        text = guide.read_text(encoding="utf-8")
        if is_walked(text):
            print(guide.name, flush=True)
            with tempfile.TemporaryDirectory() as scratch, place(Path(scratch), arguments.demo) as here:
                guide.write_text(walk(text, here), encoding="utf-8")


if __name__ == "__main__":
    main()
