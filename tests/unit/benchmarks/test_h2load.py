"""Request bodies, and what h2load prints."""

import pytest

from benchmarks.harness.h2load import Load, LoadError, Measured, Report, check, grpc_statuses, parse
from benchmarks.harness.wire import frame
from clipsearch.v1 import embedding_pb2

LOAD = Load(clients=1, streams=8, seconds=2.0, warm_up_s=0.0)

GOOD = """\
starting benchmark...
spawning thread #0: 1 total client(s). Timing-based test with 0s of warm-up time and 2s of main duration.
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 2.01s, 878.00 req/s, 289.51KB/s
requests: 1756 total, 1764 started, 1756 done, 1756 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1756 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 579.03KB (592922) total, 5.22KB (5343) headers (space savings 96.24%), 485.07KB (496710) data
                     min         max         mean         sd        +/- sd
time for request:     1.50ms     23.20ms      9.06ms      4.67ms    66.06%
"""

GRPC_ERRORS = """\
finished in 1.00s, 1795.00 req/s, 462.86KB/s
requests: 1795 total, 1803 started, 1795 done, 1795 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1795 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 462.86KB (473966) total, 424.25KB (434434) headers (space savings 24.84%), 0B (0) data
"""

NO_SERVER = """\
finished in 1.00s, 0.00 req/s, 0B/s
requests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 0B (0) total, 0B (0) headers (space savings 0.00%), 0B (0) data
"""

HTTP_FAILURES = """\
requests: 20 total, 28 started, 20 done, 15 succeeded, 5 failed, 0 errored, 0 timeout
status codes: 15 2xx, 0 3xx, 5 4xx, 0 5xx
traffic: 5.79KB (5929) total, 52B (52) headers (space savings 96.24%), 4.85KB (4967) data
"""

VERBOSE = """\
[stream_id=1] :status: 200
[stream_id=1] content-type: application/grpc
[stream_id=1] grpc-status: 3
[stream_id=1] grpc-message: the text is empty
progress: 50% done
[stream_id=3] grpc-status: 14
"""


def test_a_frame_is_flag_length_message() -> None:
    message = embedding_pb2.EmbedTextRequest(text="x" * 300)
    body = frame(message)
    assert body[0] == 0
    assert int.from_bytes(body[1:5], "big") == len(body) - 5
    assert embedding_pb2.EmbedTextRequest.FromString(body[5:]) == message


def test_an_empty_message_is_a_frame_too() -> None:
    assert frame(embedding_pb2.GetModelRequest()) == b"\0\0\0\0\0"


def test_the_summary_is_read() -> None:
    report = parse(GOOD)
    assert report == Report(requests=1756, succeeded=1756, failed=0, ok_2xx=1756, header_bytes=5343, data_bytes=496710)
    check(report, answer_bytes=283.0, load=LOAD)


def test_errors_under_a_2xx_are_seen_by_their_bytes() -> None:
    with pytest.raises(LoadError, match="ended with an error"):
        check(parse(GRPC_ERRORS), answer_bytes=283.0, load=LOAD)


def test_a_share_of_errors_is_seen() -> None:
    right, wrong = 180, 20
    mixed = Report(200, 200, 0, 200, header_bytes=3 * right + 240 * wrong, data_bytes=283 * right)
    with pytest.raises(LoadError, match="ended with an error"):
        check(mixed, answer_bytes=283.0, load=LOAD)


def test_answers_in_flight_at_the_edges_are_no_errors() -> None:
    check(Report(3, 3, 0, 3, header_bytes=87, data_bytes=4 * 2078), answer_bytes=2078.0, load=LOAD)
    check(Report(9, 9, 0, 9, header_bytes=20, data_bytes=2 * 2078), answer_bytes=2078.0, load=LOAD)


def test_a_summary_of_nothing_is_read_too() -> None:
    assert parse(NO_SERVER) == Report(0, 0, 0, 0, 0, 0)


def test_http_failures_are_failures() -> None:
    with pytest.raises(LoadError, match="5 failed"):
        check(parse(HTTP_FAILURES), answer_bytes=248.0, load=LOAD)


@pytest.mark.parametrize("output", ["", "-D: value error 1.5\n", GOOD.partition("traffic")[0]])
def test_output_without_a_summary_is_an_error(output: str) -> None:
    with pytest.raises(LoadError, match="no summary"):
        parse(output)


def test_statuses_are_found_in_verbose_output() -> None:
    assert grpc_statuses(VERBOSE) == [3, 14]
    assert grpc_statuses(GOOD) == []


def test_cpu_per_request() -> None:
    measured = Measured(rate=2000.0, shares=[1.0], server_cores=0.5, generator_cores=0.1)
    assert measured.server_us == pytest.approx(250.0)
