"""kill -9 while writing, and what a power cut may leave of the log."""

import random
import shutil
from pathlib import Path

import pytest

from clipsearch.catalogue.schema import FILE, connect_writer
from clipsearch.catalogue.verify import verify_catalogue
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.index.rules import Kind

from .catalogue_model import DIMENSION, State, random_groups, read_state
from .dying_writer import MODEL, all_fates, opened
from .kill_writer import run_rounds

LOG = FILE + "-wal"


@pytest.mark.parametrize("seed", [1, 2])
def test_every_acknowledged_mutation_survives_is_found_and_none_is_half(tmp_path: Path, seed: int) -> None:
    report = run_rounds(tmp_path, seed, rounds=10)
    named = {f"{when} {step}" for when, step in all_fates()}
    assert (sum(report.kills.values()), len(named & report.kills.keys())) == (10, 5)
    assert min(report.acknowledged_mutations, report.checks.items_searched, report.checks.mutations_retried) > 0


@pytest.mark.parametrize("left", ["an empty file", "tables without a model"])
def test_a_catalogue_that_was_left_half_made_is_made_to_the_end(tmp_path: Path, left: str) -> None:
    (tmp_path / "default").mkdir()
    file = tmp_path / "default" / FILE
    file.touch()
    if left == "tables without a model":
        connect_writer(file).close()
    data = opened(tmp_path, Kind.FLAT)
    assert (data.collection("").view.size, data.collection("").reader.model_hash) == (0, MODEL)
    data.close()


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_torn_log_gives_a_state_between_two_groups(tmp_path: Path, damage: str) -> None:
    """A disk without power may have kept any beginning of what was not flushed yet: cut the log anywhere."""
    states = [State()]
    with CatalogueWriter(tmp_path / "whole", DIMENSION, None) as writer:
        for group in random_groups(seed=3, turn=0, count=12):
            writer.apply(group)
            states.append(states[-1].after(group))
        for name in (FILE, LOG):
            shutil.copy(tmp_path / "whole" / name, tmp_path / name)
    log = (tmp_path / LOG).read_bytes()
    base = _state_after(tmp_path, log, len(log), "cut", 0)
    assert base == states[-1]
    chance = random.Random(4)
    found = []
    for turn, at in enumerate(sorted(chance.randrange(len(log)) for _ in range(25)), 1):
        state = _state_after(tmp_path, log, at, damage, turn)
        assert state in states, f"{damage} at byte {at}"
        found.append(states.index(state))
    assert found == sorted(found) and len(set(found)) > 5


def _state_after(directory: Path, log: bytes, at: int, damage: str, turn: int) -> State:
    """Return what is read where the log was damaged at a byte."""
    collection = directory / str(turn)
    collection.mkdir()
    shutil.copy(directory / FILE, collection / FILE)
    torn = log[:at] if damage == "cut" else log[:at] + bytes([log[at] ^ 0x40]) + log[at + 1 :]
    (collection / LOG).write_bytes(torn)
    with CatalogueWriter(collection, DIMENSION, None):
        state = read_state(collection)
    assert verify_catalogue(collection).ok
    return state
