"""The Node.js client in examples/node, installed and run where there are node and npm."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.support import ROOT, Running

NODE = ROOT / "examples/node"
pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="node and npm are not installed"
)


@pytest.fixture(scope="module", name="installed")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example beside one of proto/, with its packages: none are put into the repository."""
    root = tmp_path_factory.mktemp("node")
    shutil.copytree(ROOT / "proto", root / "proto")
    copy = root / "examples/node"
    shutil.copytree(NODE, copy, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=copy, check=True, timeout=600)
    return copy


def search(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["node", "search.mjs", *arguments]
    return subprocess.run(command, cwd=installed, capture_output=True, text=True, timeout=60, check=False)


def test_it_searches_by_text_under_a_filter(installed: Path, server: Running) -> None:
    ran = search(installed, server.address, "a red dress", "--filter", 'price < 100 AND category = "dress"')
    assert ran.returncode == 0, ran.stderr
    lines = [line.split(" ", 2) for line in ran.stdout.splitlines()]
    assert [float(score) for score, _, _ in lines] == sorted((float(score) for score, _, _ in lines), reverse=True)
    assert lines
    assert all(item_id.startswith("dress-") and '"price":' in metadata for _, item_id, metadata in lines)


def test_it_searches_by_picture(installed: Path, server: Running, catalogue: Path) -> None:
    picture = sorted((catalogue / "images").iterdir())[7]
    ran = search(installed, server.address, str(picture))
    assert ran.returncode == 0, ran.stderr
    score, item_id, _ = ran.stdout.splitlines()[0].split(" ", 2)
    assert (item_id, float(score) > 0.99) == (picture.stem, True)


def test_it_tells_the_reason_of_a_refusal(installed: Path, server: Running) -> None:
    ran = search(installed, server.address, "a red dress", "--filter", "price <")
    assert ran.returncode == 1
    assert ran.stderr.startswith("INVALID_ARGUMENT (FILTER_MALFORMED): the filter is wrong at position 7")


def test_the_lock_names_no_registry_and_pins_every_package() -> None:
    lock = (NODE / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')
