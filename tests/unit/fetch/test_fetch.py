"""Downloads from a real server on loopback, good and hostile."""

import asyncio
import gzip
import threading
import tracemalloc
import zlib
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest

from clipsearch.fetch import Fetcher, FetchError, FetchLimits, fetch_one
from clipsearch.fetch.errors import HttpStatus
from tests.fetch_server import FetchServer
from tests.unit.fetch.conftest import LOOPBACK, PICTURE


def reason(url: str, limits: FetchLimits = LOOPBACK) -> str:
    """Return why a URL was not downloaded."""
    with pytest.raises(FetchError) as raised:
        fetch_one(url, limits)
    return raised.value.reason


class Waits:
    """Stands in for asyncio.sleep: notes how long it should have waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def test_a_good_answer_is_the_content(server: FetchServer) -> None:
    assert fetch_one(server.url("/good.jpg?size=2#top"), LOOPBACK) == PICTURE
    assert server.last_headers["User-Agent"] == LOOPBACK.user_agent
    assert server.last_headers["Accept-Encoding"] == "identity"


def test_a_signed_url_is_sent_as_it_was_written(server: FetchServer) -> None:
    server.files["/a%2Fb~%7E.jpg"] = PICTURE
    fetch_one(server.url("/a%2Fb~%7E.jpg?sig=a%2Bb%3D&x=%7e"), LOOPBACK)
    assert server.asked["/a%2Fb~%7E.jpg"] == 1


def test_a_url_with_spaces_and_letters_of_other_alphabets_is_encoded(server: FetchServer) -> None:
    server.files["/rote%20Sch%C3%BChe.jpg"] = PICTURE
    assert fetch_one(server.url("/rote Schühe.jpg"), LOOPBACK) == PICTURE


@pytest.mark.parametrize("path", ["/endless", "/announced", "/bomb"])
def test_more_bytes_than_the_limit_are_not_taken(server: FetchServer, path: str) -> None:
    tracemalloc.start()
    assert reason(server.url(path)) == "TOO_LARGE"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000, "the server's own part included"
    assert server.asked[path] == 1


def test_exactly_the_limit_is_taken(server: FetchServer) -> None:
    limits = replace(LOOPBACK, max_bytes=len(PICTURE))
    assert fetch_one(server.url("/good.jpg"), limits) == PICTURE
    assert reason(server.url("/good.jpg"), replace(limits, max_bytes=len(PICTURE) - 1)) == "TOO_LARGE"


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_answer_is_unpacked(server: FetchServer, encoding: str, pack: object) -> None:
    assert callable(pack)
    server.files["/packed"] = pack(PICTURE)
    server.headers["/packed"] = {"Content-Encoding": encoding}
    limits = replace(LOOPBACK, max_bytes=len(PICTURE))
    assert fetch_one(server.url("/packed"), limits) == PICTURE
    assert reason(server.url("/packed"), replace(limits, max_bytes=len(PICTURE) - 1)) == "TOO_LARGE"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", b"no gzip at all"), ("gzip", gzip.compress(PICTURE)[:-9]), ("br", PICTURE), ("zstd", PICTURE)],
    # Or the second would be called by its bytes, which hold the time: processes that share the tests could not agree.
    ids=["gzip-foreign", "gzip-torn", "br", "zstd"],
)
def test_an_encoding_that_cannot_be_read_is_refused(server: FetchServer, encoding: str, body: bytes) -> None:
    server.files["/packed"] = body
    server.headers["/packed"] = {"Content-Encoding": encoding}
    assert reason(server.url("/packed")) == "BAD_ANSWER"


def test_an_answer_that_is_not_http_is_refused(server: FetchServer) -> None:
    with FetchServer(tls=None) as other:
        other.headers["/x"] = {"Content-Length": "nonsense"}
        other.files["/x"] = PICTURE
        assert reason(other.url("/x"), replace(LOOPBACK, retries=0)) == "BAD_ANSWER"


@pytest.mark.parametrize("path", ["/silent", "/drip", "/drip-headers"])
def test_the_total_time_is_bounded_however_the_bytes_trickle(server: FetchServer, path: str) -> None:
    assert reason(server.url(path), replace(LOOPBACK, total_timeout_s=0.3)) == "TIMED_OUT"
    assert server.asked[path] == 1


def test_a_silence_is_bounded_and_tried_again(server: FetchServer) -> None:
    limits = replace(LOOPBACK, read_timeout_s=0.1, retries=1)
    assert reason(server.url("/silent"), limits) == "TIMED_OUT"
    assert server.asked["/silent"] == 2


@pytest.mark.parametrize("path", ["/cut", "/reset"])
def test_a_body_that_ends_early_is_tried_again_and_then_refused(server: FetchServer, path: str) -> None:
    waits = Waits()
    with Fetcher(LOOPBACK, sleep=waits) as fetcher, pytest.raises(FetchError) as raised:
        fetcher.submit(server.url(path)).result()
    assert raised.value.reason == "CONNECTION_FAILED"
    assert len(waits.seconds) == LOOPBACK.retries


def test_a_transient_failure_is_waited_out_as_the_server_asks(server: FetchServer) -> None:
    waits = Waits()
    url = server.fail_first("/good.jpg", [503, 429], retry_after="7")
    with Fetcher(LOOPBACK, sleep=waits) as fetcher:
        assert fetcher.submit(url).result() == PICTURE
    assert server.asked["/good.jpg"] == 3
    assert all(7 <= seconds <= 8 for seconds in waits.seconds)


def test_a_reset_half_way_is_tried_again(server: FetchServer) -> None:
    waits = Waits()
    with Fetcher(LOOPBACK, sleep=waits) as fetcher:
        assert fetcher.submit(server.fail_first("/good.jpg", [None, 502])).result() == PICTURE
    assert len(waits.seconds) == 2


def test_a_server_that_wants_a_long_pause_is_not_waited_for(server: FetchServer) -> None:
    waits = Waits()
    url = server.fail_first("/good.jpg", [503], retry_after="3600")
    with Fetcher(LOOPBACK, sleep=waits) as fetcher, pytest.raises(HttpStatus) as raised:
        fetcher.submit(url).result()
    assert (raised.value.status, raised.value.retry_after_s) == (503, 3600)
    assert not waits.seconds


def test_retries_end(server: FetchServer) -> None:
    waits = Waits()
    url = server.fail_first("/good.jpg", [503] * 9)
    with Fetcher(LOOPBACK, sleep=waits) as fetcher, pytest.raises(HttpStatus):
        fetcher.submit(url).result()
    assert server.asked["/good.jpg"] == 1 + LOOPBACK.retries


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 500])
def test_other_statuses_are_final(server: FetchServer, status: int) -> None:
    with pytest.raises(HttpStatus, match=f"status {status}") as raised:
        fetch_one(server.url(f"/status/{status}"), LOOPBACK)
    assert (raised.value.status, raised.value.reason) == (status, "HTTP_STATUS")
    assert server.asked[f"/status/{status}"] == 1


def test_redirects_are_followed_as_far_as_they_may(server: FetchServer) -> None:
    for step in range(3):
        server.redirect(f"/{step}", f"/{step + 1}")
    server.redirect("/3", server.url("/good.jpg"))
    assert fetch_one(server.url("/0"), replace(LOOPBACK, max_redirects=4)) == PICTURE
    assert reason(server.url("/0"), replace(LOOPBACK, max_redirects=3)) == "TOO_MANY_REDIRECTS"
    assert reason(server.url("/loop")) == "TOO_MANY_REDIRECTS"


@pytest.mark.parametrize(
    "target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "javascript:alert(1)", "http://x:99999/", "http://h:0/"]
)
def test_a_redirect_to_anything_but_a_web_page_is_refused(server: FetchServer, target: str) -> None:
    assert reason(server.redirect("/r", target)) == "INVALID_URL"


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.2/", "http://169.254.169.254/latest/", "http://10.0.0.1/", "http://[::1]/", "http://0x7f.2/"],
)
def test_a_redirect_into_a_private_network_is_refused(server: FetchServer, target: str) -> None:
    assert reason(server.redirect("/r", target)) == "FORBIDDEN_ADDRESS"


def test_secrets_of_a_url_are_not_in_messages(server: FetchServer) -> None:
    for path in ("/status/404", "/cut", "/announced", "/loop", "/drip"):
        url = f"http://user:secret1@127.0.0.1:{server.port}{path}?token=secret2#secret3"
        with pytest.raises(FetchError) as raised:
            fetch_one(url, replace(LOOPBACK, retries=0, total_timeout_s=0.5))
        assert "secret" not in str(raised.value)
        assert path in str(raised.value)


def test_a_password_of_the_url_is_sent_there_and_nowhere_else(server: FetchServer) -> None:
    url = f"http://user:pass@127.0.0.1:{server.port}"
    fetch_one(f"{url}/good.jpg", LOOPBACK)
    assert "Authorization" in server.last_headers
    server.redirect("/r", server.url("/good.jpg"))
    fetch_one(f"{url}/r", LOOPBACK)
    assert "Authorization" not in server.last_headers


def test_no_proxy_of_the_environment_is_used(server: FetchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch_one(server.url("/good.jpg"), LOOPBACK) == PICTURE


def test_a_port_where_nobody_listens_is_a_failed_connection() -> None:
    with FetchServer() as gone:
        url = gone.url("/x")
    assert reason(url, replace(LOOPBACK, retries=0)) == "CONNECTION_FAILED"


def test_connections_are_bounded_by_host_and_in_all(server: FetchServer) -> None:
    server.gate.clear()
    limits = replace(LOOPBACK, concurrency=6, per_host_concurrency=4, allow_networks=("127.0.0.0/8",))
    with FetchServer({"/good.jpg": PICTURE}) as other, Fetcher(limits) as fetcher:
        other.gate.clear()
        futures = [fetcher.submit(one.url("/good.jpg")) for one in (server, other) for _ in range(20)]
        server.wait_until_asked(4)
        other.wait_until_asked(2)
        server.gate.set()
        other.gate.set()
        assert all(future.result() == PICTURE for future in futures)
        assert server.most_at_once == 4
        assert other.most_at_once <= 4


def test_a_slow_host_does_not_keep_the_others_from_their_turn(server: FetchServer) -> None:
    limits = replace(LOOPBACK, concurrency=4, per_host_concurrency=2)
    with FetchServer() as slow, Fetcher(limits) as fetcher:
        stuck = [fetcher.submit(slow.url("/silent")) for _ in range(50)]
        slow.wait_until_asked(2)
        assert fetcher.submit(server.url("/good.jpg")).result(timeout=10) == PICTURE
        assert not any(future.done() for future in stuck)


def test_the_end_cancels_what_still_runs(server: FetchServer) -> None:
    with Fetcher(LOOPBACK) as fetcher:
        futures = [fetcher.submit(server.url("/silent")) for _ in range(20)]
        server.wait_until_asked(LOOPBACK.per_host_concurrency)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(timeout=0)
    with pytest.raises(RuntimeError, match="not open"):
        fetcher.submit(server.url("/good.jpg"))
    assert "clipsearch-fetch" not in {thread.name for thread in threading.enumerate()}


def test_a_cancelled_download_gives_its_place_to_the_next(server: FetchServer) -> None:
    with Fetcher(replace(LOOPBACK, concurrency=1)) as fetcher:
        stuck = fetcher.submit(server.url("/silent"))
        server.wait_until_asked(1)
        stuck.cancel()
        assert fetcher.submit(server.url("/good.jpg")).result(timeout=10) == PICTURE
