"""The verbs snapshot, verify and restore: from a running server to another data directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clipsearch.cli.shell import shell
from clipsearch.settings import Settings
from tests.unit.catalogue.support import flip_embedding

from .support import SAMPLE_BUNDLE, Running
from .test_rpc_catalogue import connected, item, upsert


def run(*arguments: object) -> Result:
    return CliRunner().invoke(shell, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server with three items, and the directory of its snapshots."""
    root = tmp_path_factory.mktemp("shop")
    snapshots = root / "snapshots"
    options = Settings(
        bundle=SAMPLE_BUNDLE, data=root / "data", snapshots=snapshots, listen="127.0.0.1:0", device="cpu"
    )
    with Running(options) as running:
        channel, stubs = connected(running)
        with channel:
            upsert(stubs, "", *(item(f"i{n}", n) for n in range(3)))
        yield running.address, snapshots


def test_a_snapshot_is_taken_verified_and_restored(shop: tuple[str, Path], tmp_path: Path) -> None:
    address, snapshots = shop
    taken = run("snapshot", "--to", "monday", "--server", address)
    assert taken.exit_code == 0, taken.output
    assert taken.stdout.startswith("default: 3 items at sequence number 1, no index, ")
    checked = run("verify", snapshots / "monday")
    assert (checked.exit_code, checked.stdout) == (0, "default: whole, 3 items, 0 tombstones\n")
    restored = run("restore", snapshots / "monday", "--data", tmp_path)
    assert restored.exit_code == 0, restored.output
    assert restored.stdout == "default: 3 items at sequence number 1, no index: it will be built\n"
    assert run("verify", tmp_path / "default").stdout == "default: whole, 3 items, 0 tombstones\n"
    again = run("restore", snapshots / "monday", "--data", tmp_path, "--collection", "default")
    assert again.exit_code == 1 and "nothing is overwritten" in again.stderr


def test_verify_prints_a_line_for_each_problem(shop: tuple[str, Path], tmp_path: Path) -> None:
    address, snapshots = shop
    assert run("snapshot", "--to", "broken", "--collection", "default", "--server", address).exit_code == 0
    broken = snapshots / "broken"
    flip_embedding(broken / "default", row=1)
    (broken / "empty").mkdir()
    result = run("verify", broken)
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first == "default: the embedding of 'i1' does not match its checksum"
    assert second.startswith("empty: ") and "is missing" in second
    nothing = run("verify", tmp_path)
    assert nothing.exit_code == 1 and "holds no collection" in nothing.stderr


def test_what_the_server_refuses_is_one_sentence(shop: tuple[str, Path]) -> None:
    result = run("snapshot", "--to", "../up", "--server", shop[0])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: INVALID_ARGUMENT (PATH_NOT_ALLOWED): ")
