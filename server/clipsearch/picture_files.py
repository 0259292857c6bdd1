"""What is taken for a picture in a directory tree."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".ico", ".tga"),
}
"""What is taken for a picture by its name, readable or not: the unreadable ones are listed, other files passed over."""


def is_picture_name(name: str) -> bool:
    """Return whether a file of this name is taken for a picture."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  (many of them)


def find_pictures(root: Path) -> list[str]:
    """Return the paths of all pictures under ``root``, relative, sorted, with forward slashes.

    As ``walk_pictures``, but all at once: some hundred bytes a picture, which give progress a total.
    """
    return sorted(walk_pictures(root))


def walk_pictures(root: Path, unreadable: Callable[[OSError], None] | None = None) -> Iterator[str]:
    """Yield the path of each picture under ``root``, relative and with forward slashes, directory by directory.

    Hidden files and directories are passed over, links to directories are not followed. A directory's names are sorted,
    and only those of the directories on the way are in memory. ``unreadable`` is told of directories that can't be
    listed; without it they are passed over.
    """
    for directory, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = Path(directory).relative_to(root)
        yield from ((base / name).as_posix() for name in sorted(names) if is_picture_name(name))


def scan_pictures(root: Path, unreadable: Callable[[OSError], None]) -> Iterator[str]:
    """Yield the paths of all pictures under ``root``, as ``walk_pictures``, but in the disk's own order.

    Nothing of the size of a directory is held. Directories that can't be read are told to ``unreadable``.
    """
    yield from _scan(os.fspath(root), "", unreadable)


def _scan(directory: str, prefix: str, unreadable: Callable[[OSError], None]) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _scan(entry.path, f"{prefix}{entry.name}/", unreadable)
                elif not entry.is_dir() and is_picture_name(entry.name):
                    yield prefix + entry.name
    except OSError as error:
        unreadable(error)
