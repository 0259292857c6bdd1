"""An environment for each peer, made once and kept while its requirements stay the same."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.peers.contenders import Peer

_STAMP = "requirements.sha256"
_LIMIT_S = 1200.0


class NotInstalled(Exception):
    """A peer's packages cannot be installed; the message says why, or is what pip said last."""


def environment(peer: Peer, directory: Path) -> Path:
    """Return the Python of a peer's environment under ``directory``, ours where it needs none; minutes the first time.

    Raises NotInstalled.
    """
    if peer.unavailable:
        raise NotInstalled(peer.unavailable)
    if peer.requirements is None:
        return Path(sys.executable)
    wanted = hashlib.sha256(peer.requirements.read_bytes()).hexdigest()
    home = directory / peer.folder
    python, stamp = home / "bin" / "python", home / _STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    venv.create(home, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, "--requirement", str(peer.requirements)], capture_output=True, text=True, timeout=_LIMIT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"pip took longer than {_LIMIT_S:g} s") from error
    if done.returncode:
        raise NotInstalled(last_error(done.stderr))
    stamp.write_text(wanted)
    return python


def last_error(output: str) -> str:
    """Return pip's last line that begins with ERROR, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip failed without a word"])[-1]
