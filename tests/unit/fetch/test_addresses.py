"""Where downloads may lead."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from clipsearch.fetch import FetchError, FetchLimits, fetch_one
from clipsearch.fetch.addresses import is_public
from tests.fetch_server import FetchServer
from tests.unit.fetch.conftest import LOOPBACK, PICTURE

_FORBIDDEN = (
    "0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.254 127.0.0.1 127.255.0.1 169.254.169.254 172.16.0.1 172.31.255.255 "
    "192.0.0.8 192.0.2.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 "
    "240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::8.8.8.8 64:ff9b::7f00:1 64:ff9b::808:808 "
    "64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1::1 3fff::1 fc00::1 fd12:3456::1 fe80::1 fec0::1 ff02::1 "
    "5f00::1"
)
_PUBLIC = "1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.1 172.32.0.1 2606:4700::1111 2a00:1450:4001::200e"


class Names:
    """A resolver of names that the test makes up; each time it is asked, the next answer, the last one for ever."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("_", "."): list(several) for name, several in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self._answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self._answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.mark.parametrize("address", _FORBIDDEN.split())
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    literal = f"[{address}]" if ":" in address else address
    for scheme in ("http", "https"):
        with pytest.raises(FetchError) as raised:
            fetch_one(f"{scheme}://{literal}:1/x", FetchLimits(total_timeout_s=5, retries=0))
        assert raised.value.reason == "FORBIDDEN_ADDRESS"


@pytest.mark.parametrize("address", _FORBIDDEN.split())
def test_names_that_resolve_to_them(address: str) -> None:
    with pytest.raises(FetchError) as raised:
        fetch_one("http://shop.test/x", FetchLimits(total_timeout_s=5), look_up=Names(shop_test=[[address]]))
    assert raised.value.reason == "FORBIDDEN_ADDRESS"


@pytest.mark.parametrize("address", _PUBLIC.split())
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host", ["2130706433", "017700000001", "0x7f000001", "0x7f.1", "127.1", "0", "0.0", "127.0.0.1.", "[::ffff:7f00:1]"]
)
def test_other_spellings_of_loopback(server: FetchServer, host: str) -> None:
    """By any road: some are no valid host, some resolve to what is refused; none is connected to."""
    with pytest.raises(FetchError) as raised:
        fetch_one(f"http://{host}:{server.port}/good.jpg", FetchLimits(total_timeout_s=5, retries=0))
    assert raised.value.reason in {"FORBIDDEN_ADDRESS", "INVALID_URL", "NAME_NOT_RESOLVED"}
    assert not server.asked


def test_a_name_is_looked_up_once_and_that_answer_is_connected_to(server: FetchServer) -> None:
    """A name server that says something else the second time (DNS rebinding) gets no second time."""
    names = Names(shop_test=[["127.0.0.1"], ["10.0.0.1"]])
    fetched = fetch_one(server.url("/good.jpg", host="shop.test"), LOOPBACK, look_up=names)
    assert fetched == PICTURE
    assert names.asked == ["shop.test"]
    assert server.last_headers["Host"] == f"shop.test:{server.port}"


def test_a_good_address_beside_a_forbidden_one_is_used(server: FetchServer) -> None:
    names = Names(shop_test=[["10.0.0.1", "127.0.0.1", "::1"]])
    assert fetch_one(server.url("/good.jpg", host="shop.test"), LOOPBACK, look_up=names) == PICTURE


def test_a_redirect_to_a_name_with_a_private_address_is_refused(server: FetchServer) -> None:
    names = Names(shop_test=[["127.0.0.1"]], inside_test=[["192.168.0.1"]])
    server.redirect("/r", server.url("/good.jpg", host="inside.test"))
    with pytest.raises(FetchError, match="192\\.168\\.0\\.1") as raised:
        fetch_one(server.url("/r", host="shop.test"), LOOPBACK, look_up=names)
    assert raised.value.reason == "FORBIDDEN_ADDRESS"
    assert server.asked == {"/r": 1}


def test_allow_private_lifts_the_rule(server: FetchServer) -> None:
    with pytest.raises(FetchError):
        fetch_one(server.url("/good.jpg"), replace(LOOPBACK, allow_networks=()))
    limits = replace(LOOPBACK, allow_networks=(), allow_private=True)
    assert fetch_one(server.url("/good.jpg"), limits) == PICTURE


@pytest.mark.parametrize("host", ["no.test", "a..b", "a" * 64 + ".test"])
def test_a_name_without_an_address(host: str) -> None:
    with pytest.raises(FetchError) as raised:
        fetch_one(f"http://{host}/x", look_up=Names())
    assert raised.value.reason == "NAME_NOT_RESOLVED"


def test_a_resolver_that_hangs_costs_the_total_time_and_no_more() -> None:
    cancelled = threading.Event()

    async def hang(host: str) -> Sequence[str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return []

    with pytest.raises(FetchError) as raised:
        fetch_one("http://shop.test/x", FetchLimits(total_timeout_s=0.2), look_up=hang)
    assert raised.value.reason == "TIMED_OUT"
    assert cancelled.is_set()


def test_a_resolver_that_fails_for_now_is_asked_again() -> None:
    asked = 0

    async def busy(host: str) -> Sequence[str]:
        nonlocal asked
        asked += 1
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with pytest.raises(FetchError, match="Temporary failure") as raised:
        fetch_one("http://shop.test/x", FetchLimits(retries=1), look_up=busy)
    assert raised.value.reason == "NAME_NOT_RESOLVED"
    assert asked == 2
