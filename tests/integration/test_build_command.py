"""``clipsearch index``, as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from clipsearch.cli.index import index as command

from .build_support import unit


def test_the_command_builds_and_describes(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit(900))
    np.save(tmp_path / "t.npy", unit(40) * 3)
    out = str(tmp_path / "out")
    arguments = [
        "build",
        str(tmp_path / "v.npy"),
        "--out",
        out,
        "--kind",
        "ivfpq",
        "--text-queries",
        str(tmp_path / "t.npy"),
    ]
    built = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert built.exit_code == 0
    assert "900 items added" in built.stdout and "picture queries: recall@10" in built.stdout
    again = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "900 unchanged" in again.stdout and "was up to date" in again.stdout
    shown = CliRunner().invoke(command, ["info", out], catch_exceptions=False)
    for word in ("nlist", "nprobe", "overfetch", "bytes per item", "recall, pictures", "recall, texts", "t.npy"):
        assert word in shown.stdout
    described = json.loads(CliRunner().invoke(command, ["info", out, "--json"], catch_exceptions=False).stdout)
    assert described["size"] == 900 and described["text_recall"]["queries"] == 20


def test_the_command_fails_with_a_sentence(shop: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "clipsearch", "index"]
    for arguments, message in (
        (["build", str(shop), "--out", str(tmp_path / "out")], "needs --bundle"),
        (["info", str(shop)], "holds no index"),
    ):
        failed = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
        assert failed.returncode == 1 and message in failed.stderr and "Traceback" not in failed.stderr
