"""https: certificates are checked, against the name in the URL, and the way back to http is closed."""

import ssl
from collections.abc import Sequence

import pytest
import trustme

from clipsearch.fetch import FetchError, fetch_one
from tests.fetch_server import FetchServer
from tests.unit.fetch.conftest import LOOPBACK, PICTURE


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    return trustme.CA()


def server_for(name: str, authority: trustme.CA) -> FetchServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return FetchServer({"/good.jpg": PICTURE}, tls=context)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def loopback(host: str) -> Sequence[str]:
    return ["127.0.0.1"]


def test_a_certificate_for_the_name_is_accepted(authority: trustme.CA) -> None:
    with server_for("shop.test", authority) as server:
        url = server.url("/good.jpg", host="shop.test")
        fetched = fetch_one(url, LOOPBACK, tls=trusting(authority), look_up=loopback)
    assert fetched == PICTURE


def test_a_certificate_for_another_name_is_refused(authority: trustme.CA) -> None:
    with server_for("other.test", authority) as server:
        url = server.url("/good.jpg?token=secret", host="shop.test")
        with pytest.raises(FetchError, match="certificate") as raised:
            fetch_one(url, LOOPBACK, tls=trusting(authority), look_up=loopback)
        assert not server.asked
    assert raised.value.reason == "TLS_FAILED"
    assert "secret" not in str(raised.value)


def test_a_certificate_of_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    with server_for("127.0.0.1", authority) as server:
        with pytest.raises(FetchError) as raised:
            fetch_one(server.url("/good.jpg"), LOOPBACK)
        assert not server.asked
    assert raised.value.reason == "TLS_FAILED"


def test_a_server_that_does_not_speak_tls_is_refused(server: FetchServer) -> None:
    with pytest.raises(FetchError) as raised:
        fetch_one(f"https://127.0.0.1:{server.port}/good.jpg", LOOPBACK)
    assert raised.value.reason in {"TLS_FAILED", "CONNECTION_FAILED"}
    assert not server.asked


def test_a_redirect_from_https_to_http_is_refused(authority: trustme.CA, server: FetchServer) -> None:
    with server_for("127.0.0.1", authority) as secure:
        secure.redirect("/r", server.url("/good.jpg"))
        with pytest.raises(FetchError) as raised:
            fetch_one(secure.url("/r"), LOOPBACK, tls=trusting(authority))
    assert raised.value.reason == "INSECURE_REDIRECT"
    assert not server.asked


def test_a_redirect_from_http_to_https_is_followed(authority: trustme.CA, server: FetchServer) -> None:
    with server_for("127.0.0.1", authority) as secure:
        server.redirect("/r", secure.url("/good.jpg"))
        fetched = fetch_one(server.url("/r"), LOOPBACK, tls=trusting(authority))
    assert fetched == PICTURE
