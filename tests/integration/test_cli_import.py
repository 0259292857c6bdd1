"""The verb import: what the server loaded and left out, in words."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from clipsearch.cli.shell import shell
from clipsearch.settings import Settings

from .build_support import write_lines
from .support import SAMPLE_BUNDLE, Running
from .test_rpc_catalogue import DIMENSION


def run(*arguments: object) -> Result:
    return CliRunner().invoke(shell, [str(argument) for argument in arguments])


def test_an_import_says_what_it_did(tmp_path: Path) -> None:
    imports = tmp_path / "in"
    imports.mkdir()
    vectors = np.eye(DIMENSION, dtype=np.float32)
    vectors[3] = 0
    np.save(imports / "v.npy", vectors)
    write_lines(imports / "v.jsonl", [{"id": f"v{n}", "n": n} for n in range(DIMENSION)])
    options = Settings(
        bundle=SAMPLE_BUNDLE, data=tmp_path / "data", imports=imports, listen="127.0.0.1:0", device="cpu"
    )
    with Running(options) as running:
        command = ("import", "v.npy", "--metadata", "v.jsonl", "--server", running.address)
        first = run(*command)
        assert first.exit_code == 0, first.output
        assert first.stdout.splitlines() == [
            "127 items added, 0 updated, 0 unchanged.",
            "Left out: 1 VECTOR_NOT_USABLE; the first are:",
            "  v.npy:3: VECTOR_NOT_USABLE: the vector has no length, so no direction",
        ]
        assert run(*command).stdout.startswith("0 items added, 0 updated, 127 unchanged.")
        (imports / "torn.npy").write_bytes(b"torn")
        failed = run("import", "torn.npy", "--server", running.address)
        assert failed.exit_code == 1
        assert failed.stderr.splitlines()[-1].startswith("Error: INVALID_ARGUMENT (INVALID_INPUT): torn.npy is not")
