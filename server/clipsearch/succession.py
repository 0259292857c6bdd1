"""On disk: collections of a new model that wait below the data directory for their turn, and take their places.

They are made in ``.next`` while the old ones serve. When the model takes over, one small file says so, and that is the
whole switch: collections that are open stay where they are, because a database whose directory is renamed under it may
lose its log. The next start puts the new collections in the places of the old ones, before any is open. Killed on the
way, the start after that goes on.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from clipsearch.disk import appearing, disk_errors, flush
from clipsearch.errors import ConfigError

logger = logging.getLogger(__name__)

_STAGED = ".next"
_PROMOTED = "promoted.json"


def staged_root(root: Path) -> Path:
    """Return where the collections of the next model wait."""
    return root / _STAGED


def promote(root: Path, replaced: Sequence[str]) -> None:
    """Make what waits below ``root`` the truth, durably, instead of the collections ``replaced``."""
    with disk_errors("the switch to the new collections"):
        _note(staged_root(root), replaced)


def settle(root: Path) -> None:
    """Put collections that took over into the places of the old ones; nobody may have any of them open.

    Raises ConfigError where there is no room for one.
    """
    staged = staged_root(root)
    if not (staged / _PROMOTED).is_file():
        return
    settle(staged)
    replaced = json.loads((staged / _PROMOTED).read_text(encoding="utf-8"))["replaces"]
    for name in replaced:
        if (root / name).exists():
            shutil.rmtree(root / name)
    # From here on these names are the new collections', also for a start that comes after a crash.
    _note(staged, ())
    for directory in sorted(staged.iterdir()):
        if directory.is_dir() and not directory.name.startswith("."):
            _move(directory, root / directory.name)
    flush(root)
    shutil.rmtree(staged)
    logger.info("the collections of the model that took over are in their places")


def _move(directory: Path, to: Path) -> None:
    try:
        directory.rename(to)
    except OSError as error:
        raise ConfigError(f"{directory} cannot take the place of {to}: {error.strerror}") from error


def discard(root: Path) -> None:
    """Delete what waits below ``root``; nobody may have any of it open."""
    staged = staged_root(root)
    if staged.exists():
        with disk_errors("removing the staged collections"):
            shutil.rmtree(staged)


def _note(staged: Path, replaced: Sequence[str]) -> None:
    with appearing(staged / _PROMOTED) as unfinished:
        unfinished.write_text(json.dumps({"replaces": list(replaced)}), encoding="utf-8")
