"""The tests that wait for a card, on GPUs made of numpy."""

import re
import subprocess
import sys

from tests.integration.support import ROOT


def test_what_waits_for_a_card_passes_as_far_as_python_goes() -> None:
    plugins = ["-p", "no:cacheprovider", "-p", "tests.numpy_gpu.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "tests/gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    # None of them was skipped for want of a GPU, or of a second one.
    assert "GPU to use" not in done.stdout and "this takes two" not in done.stdout
    passed = re.search(r"^(\d+) passed", done.stdout, re.M)
    assert passed is not None and int(passed[1]) >= 54, done.stdout[-500:]
