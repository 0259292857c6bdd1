"""The file of API keys: JSON, because the command line writes it and the standard library can.

It holds no secret, but whoever can change it can let themselves in: it is made for its owner alone, and not read at all
where everybody may write it.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipsearch.access.keys import Key
from clipsearch.access.rates import Rate
from clipsearch.access.scopes import Scope
from clipsearch.disk import appearing
from clipsearch.errors import ConfigError

_VERSION = 1
_HASH = "sha256:"
_WRITABLE_BY_ALL = 0o002


def read_keys(path: Path) -> list[Key]:
    """Read a file of keys. Raises ConfigError where it can't be read, means nothing, or everybody may write it."""
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"cannot read the keys file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the keys file {path} is no UTF-8") from error
    if mode & _WRITABLE_BY_ALL:
        raise ConfigError(f"everybody may write the keys file {path}: take that away (chmod o-w)")
    try:
        document = json.loads(text)
        if document["version"] != _VERSION:
            raise ConfigError(f"the keys file {path} is of version {document['version']!r}, and not {_VERSION}")
        keys = [_key(entry) for entry in document["keys"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Without the text of a JSON error's neighbourhood: digests need not be in logs.
        raise ConfigError(
            f"the keys file {path} is not as `clipsearch keys` writes it ({type(error).__name__})"
        ) from error
    if len({key.id for key in keys}) != len(keys):
        raise ConfigError(f"the keys file {path} has one id twice")
    return keys


@contextmanager
def editing(path: Path) -> Iterator[list[Key]]:
    """Give the keys of a file (none where there is no file yet) as a list to change, and write it back.

    One process at a time; a server that reads meanwhile sees the old file or the new one.
    """
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read_keys(path) if path.exists() else []
        yield keys
        with appearing(path) as unfinished:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(_text(keys))


def revoke(keys: list[Key], key_id: str, when: str) -> None:
    """Mark a key as revoked. Raises ConfigError where there is none of this id, or it is revoked already."""
    for place, key in enumerate(keys):
        if key.id == key_id:
            if key.revoked is not None:
                raise ConfigError(f"the key {key_id} was revoked at {key.revoked}")
            keys[place] = replace(key, revoked=when)
            return
    raise ConfigError(f"there is no key with the id {key_id!r}")


def _text(keys: Sequence[Key]) -> str:
    entries = [
        {
            "id": key.id,
            "name": key.name,
            "hash": _HASH + key.digest.hex(),
            "scopes": sorted(scope.value for scope in key.scopes),
            "rate": None if key.rate is None else {"calls_per_second": key.rate.per_s, "burst": key.rate.burst},
            "created": key.created,
            "revoked": key.revoked,
        }
        for key in keys
    ]
    return json.dumps({"version": _VERSION, "keys": entries}, indent=2, ensure_ascii=False) + "\n"


def _key(entry: Any) -> Key:
    stored = str(entry["hash"])
    digest = bytes.fromhex(stored.removeprefix(_HASH))
    if not stored.startswith(_HASH) or len(digest) != 32:
        raise ValueError("no SHA-256")
    rate = entry["rate"]
    return Key(
        id=str(entry["id"]),
        name=str(entry["name"]),
        digest=digest,
        scopes=frozenset(Scope(scope) for scope in entry["scopes"]),
        rate=None if rate is None else Rate(float(rate["calls_per_second"]), float(rate["burst"])),
        created=str(entry["created"]),
        revoked=None if entry["revoked"] is None else str(entry["revoked"]),
    )
