"""Which addresses may be connected to.

The rule is asked in two places, and the second is the one that counts. The resolver drops what is forbidden, so that a
name with one good address still works. The socket factory sees the very address that is about to be connected to: a
literal in the URL, whatever its spelling, never meets a resolver, and a name is never looked up again in between.

The networks are those of the IANA special-purpose registries that are not globally reachable. Written out rather than
taken from ``ipaddress.is_global``, whose answer differs between the Python versions that we support. Addresses that
carry an IPv4 one inside (mapped, compatible, NAT64, 6to4, Teredo) are refused as they are: where they lead depends on a
gateway that is not ours.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from clipsearch.fetch.errors import ForbiddenAddress, NameNotResolved, ResolverFailed
from clipsearch.fetch.limits import FetchLimits

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LookUp = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a name, in order of preference; raises ``socket.gaierror``."""

_V6_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_FORBIDDEN_V4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # unspecified, "this network"
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, where clouds keep their credentials
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
_FORBIDDEN_V6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]


def is_public(address: Address) -> bool:
    """Return whether an address is one of the public Internet's."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _FORBIDDEN_V4)
    return address in _V6_GLOBAL_UNICAST and not any(address in network for network in _FORBIDDEN_V6)


class AddressRule:
    """The limits' word on an address."""

    def __init__(self, limits: FetchLimits) -> None:
        """Read the allowed networks."""
        self._allow_all = limits.allow_private
        self._allowed = [ipaddress.ip_network(network) for network in limits.allow_networks]

    def allows(self, text: str) -> bool:
        """Return whether an address may be connected to; what is no address in its canonical spelling may not."""
        if self._allow_all:
            return True
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return is_public(address) or any(address in network for network in self._allowed)

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Return a socket to connect to an address; raises ForbiddenAddress. What aiohttp calls a socket factory."""
        family, kind, protocol, _, address = info
        if not self.allows(address[0]):
            raise ForbiddenAddress(f"{address[0]} is not a public address")
        return socket.socket(family, kind, protocol)


class CheckedResolver(AbstractResolver):
    """Looks names up, and gives only addresses that the rule allows."""

    def __init__(self, rule: AddressRule, look_up: LookUp) -> None:
        """Look up with ``look_up``."""
        self._rule = rule
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the allowed addresses; raises NameNotResolved or ForbiddenAddress where there are none."""
        try:
            addresses = await self._look_up(host)
        except socket.gaierror as error:
            failed = ResolverFailed if error.errno == socket.EAI_AGAIN else NameNotResolved
            raise failed(f"the name {host} could not be resolved: {error.strerror}") from error
        except UnicodeError as error:
            raise NameNotResolved(f"the name {host} is none that could be resolved") from error
        allowed = [address for address in addresses if self._rule.allows(address)]
        if not allowed:
            known = ", ".join(addresses) or "nothing"
            raise ForbiddenAddress(f"{host} resolves to {known}, which is not a public address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in allowed
        ]

    async def close(self) -> None:
        """Hold nothing."""


async def look_up(host: str) -> list[str]:
    """Ask the system's resolver for the addresses of a name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
