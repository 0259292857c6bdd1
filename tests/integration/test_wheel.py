"""The wheel holds whatever the packages need besides their modules."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("server/clipsearch", "export/clipsearch_export", "demo/clipsearch_demo")


@pytest.mark.slow
def test_every_file_of_the_packages_is_in_the_wheel(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = {name.split("/", 1)[1] for name in listed.stdout.split()}
    assert {"clipsearch/encoders/resample.cu", "clipsearch/index/rerank.cu", "clipsearch/py.typed"} <= expected
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert expected <= set(packed.namelist())
