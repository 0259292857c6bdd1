"""What ``clipsearch ui`` was told, and how it reaches the script, which Streamlit runs anew for every visitor."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SECRETS_KEY = "clipsearch_ui"
"""Where the options lie among Streamlit's secrets: the one thing that an app is given by whoever starts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The page's options.

    ``server`` is the server's ``host:port``; ``pictures`` the directory that items' uris and ``image`` fields are
    relative to, None where there is none; ``uploads`` where pictures added from the page are kept;
    ``allow_private_urls`` whether a visitor may have pictures fetched from private addresses; ``access`` how the server
    is called, over TLS or with a key, as ``clipsearch.client_options`` has it.
    """

    server: str
    uploads: Path
    pictures: Path | None = None
    allow_private_urls: bool = False
    access: Mapping[str, str | bool] = field(default_factory=dict, repr=False)

    def to_secrets(self) -> dict[str, Any]:
        """Return the options as what Streamlit hands to the script."""
        return {SECRETS_KEY: {name: _plain(value) for name, value in asdict(self).items()}}

    @classmethod
    def from_secrets(cls, secrets: Mapping[str, Any]) -> "Options":
        """Read the options in the script; KeyError where the script was not started by ``clipsearch ui``."""
        given = secrets[SECRETS_KEY]
        return cls(
            server=given["server"],
            uploads=Path(given["uploads"]),
            pictures=Path(given["pictures"]) if given["pictures"] else None,
            allow_private_urls=given["allow_private_urls"],
            access=dict(given["access"]),
        )


def _plain(value: object) -> Any:
    if isinstance(value, bool | dict):
        return value
    return "" if value is None else str(value)
