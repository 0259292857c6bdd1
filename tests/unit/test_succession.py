"""Collections of a new model take the places of the old ones, and a start that dies on the way is no loss."""

import shutil
from pathlib import Path

import pytest

from clipsearch.errors import ConfigError
from clipsearch.succession import discard, promote, settle, staged_root


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        for where, content in ((tmp_path, "old"), (staged_root(tmp_path), "new")):
            (where / name).mkdir(parents=True)
            (where / name / "catalogue").write_text(content)
    return tmp_path


def contents(root: Path) -> dict[str, str]:
    return {path.name: (path / "catalogue").read_text() for path in sorted(root.iterdir())}


def test_what_was_not_promoted_waits(root: Path) -> None:
    settle(root)
    assert (root / "a" / "catalogue").read_text() == "old"
    assert (staged_root(root) / "a" / "catalogue").read_text() == "new"
    discard(root)
    assert contents(root) == {"a": "old", "b": "old"}


def test_what_was_promoted_replaces_the_old_and_leaves_others_alone(root: Path) -> None:
    promote(root, ["a", "b"])
    (root / "restored").mkdir()
    (root / "restored" / "catalogue").write_text("restored")
    settle(root)
    assert contents(root) == {"a": "new", "b": "new", "restored": "restored"}


@pytest.mark.parametrize("step", range(6))
def test_a_start_that_dies_on_the_way_is_finished_by_the_next(
    root: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    promote(root, ["a", "b"])
    left = [step]

    def dying(real):  # type: ignore[no-untyped-def]
        def call(*given, **more):  # type: ignore[no-untyped-def]
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*given, **more)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", dying(shutil.rmtree))
        patched.setattr(Path, "rename", dying(Path.rename))
        patched.setattr(Path, "replace", dying(Path.replace))
        with pytest.raises(KeyboardInterrupt):
            settle(root)
    settle(root)
    assert contents(root) == {"a": "new", "b": "new"}


def test_one_that_took_over_from_one_that_took_over_wins(root: Path) -> None:
    promote(root, ["a", "b"])
    newest = staged_root(staged_root(root))
    (newest / "a").mkdir(parents=True)
    (newest / "a" / "catalogue").write_text("newest")
    promote(staged_root(root), ["a", "b"])
    settle(root)
    assert contents(root) == {"a": "newest"}


def test_nothing_is_overwritten_that_came_since(root: Path) -> None:
    promote(root, ["a"])
    with pytest.raises(ConfigError, match="take the place"):
        settle(root)
    assert (root / "b" / "catalogue").read_text() == "old"
