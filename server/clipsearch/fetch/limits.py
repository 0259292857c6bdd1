"""The limits of a fetcher: one frozen, validated value."""

import ipaddress
import math
from dataclasses import dataclass, fields

from clipsearch import __version__
from clipsearch.errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """What a download may cost, and where it may go. Raises ConfigError for values that make no sense.

    ``total_timeout_s`` bounds one URL from its first connection to its last byte, redirects, retries and the waits
    between them included; the time it waits for its turn does not count. ``read_timeout_s`` bounds each silence.
    ``allow_networks`` names networks in CIDR notation that may be reached though they are not public
    (``("10.20.0.0/16",)``, for an image host of one's own); ``allow_private`` lifts the rule altogether.
    """

    max_bytes: int = 16 * MIB
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 15.0
    total_timeout_s: float = 60.0
    max_redirects: int = 5
    retries: int = 2
    concurrency: int = 32
    per_host_concurrency: int = 8
    allow_private: bool = False
    allow_networks: tuple[str, ...] = ()
    user_agent: str = f"clipsearch/{__version__}"

    def __post_init__(self) -> None:
        """Validate."""
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name in {"max_redirects", "retries"} else 1
            if field.type is int and value < least:
                raise ConfigError(f"{field.name} must be at least {least}, not {value}", field=field.name)
            if field.type is float and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{field.name} must be a positive number of seconds, not {value}", field=field.name)
        if not self.user_agent.isascii() or not self.user_agent.isprintable() or not self.user_agent.strip():
            raise ConfigError("user_agent must be printable ASCII and not empty", field="user_agent")
        for network in self.allow_networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ConfigError(f"allow_networks: {error}", field="allow_networks") from error
