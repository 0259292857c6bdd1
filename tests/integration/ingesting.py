"""``clipsearch ingest`` run as a user does, against a server in this process, and what it says and leaves behind."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from PIL import Image

from clipsearch.cli.shell import shell
from clipsearch.client import Client
from clipsearch.client.types import Item
from tests.integration.support import ROOT


def jpeg(number: int, side: int = 32) -> bytes:
    """A picture of its own for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(out, "JPEG")
    return out.getvalue()


def write_pictures(root: Path, names: Iterable[str]) -> None:
    """Write a picture of its own under each name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # The same name, the same picture: in every process and run.
        path.write_bytes(jpeg(sum(name.encode())))


def write_shard(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a tar file."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@dataclass(frozen=True)
class Ran:
    """A run that ended: its status, what it said on both streams, and what it listed as left out."""

    status: int
    said: str
    rejects: list[dict[str, Any]]

    @property
    def reasons(self) -> dict[str, str]:
        """Reason by id, or by where it stood if it has none."""
        return {one["id"] or one["where"]: one["reason"] for one in self.rejects}


@dataclass(frozen=True)
class Desk:
    """One collection of a server, and the place on this side that belongs to it."""

    address: str
    collection: str
    work: Path

    def arguments(self, source: Path | str, *more: str) -> list[str]:
        """The command's arguments for a source."""
        given = ["ingest", str(source), "--server", self.address, "--collection", self.collection, "--create"]
        return [*given, "--state", str(self.work / "state"), "--rejects", str(self._rejects), *more]

    def ingest(self, source: Path | str, *more: str, answer: str | None = None) -> Ran:
        """Run the command to its end."""
        result = CliRunner().invoke(shell, self.arguments(source, *more), input=answer)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.output, self.rejects())

    def start(self, source: Path | str, *more: str, stderr: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        """Start the command in a process of its own; what it says is in pipes, line by line."""
        command = [sys.executable, "-u", "-m", "clipsearch", *self.arguments(source, *more)]
        # Wide, so that no sentence is broken over lines.
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), COLUMNS="200")
        return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=stderr)

    def rejects(self) -> list[dict[str, Any]]:
        """What the last run listed."""
        if not self._rejects.exists():
            return []
        return [json.loads(line) for line in self._rejects.read_text(encoding="utf-8").splitlines()]

    def items(self) -> dict[str, Item]:
        """What the server has."""
        with Client(self.address) as client:
            return {item.id: item for item in client.catalogue.list_items(collection=self.collection)}

    @property
    def _rejects(self) -> Path:
        return self.work / "rejects.jsonl"
