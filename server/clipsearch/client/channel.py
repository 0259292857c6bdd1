"""The channel's options, and the health check, which both clients share."""

import math
from collections.abc import Sequence
from pathlib import Path

import grpc
from google.protobuf import wrappers_pb2

from clipsearch import __version__
from clipsearch.client.errors import DeadlineExceeded
from clipsearch.client.retry import RetryPolicy

MAX_MESSAGE_BYTES = 64 << 20
"""Default limit of one message in either direction, the server's own default."""

ENVELOPE_BYTES = 1024
"""What a message may need besides its items: far more than it does."""

HEALTH_METHOD = "/grpc.health.v1.Health/Check"

_SERVING = 1


def channel_options(retry: RetryPolicy, max_message_bytes: int) -> Sequence[tuple[str, str | int]]:
    """Return gRPC channel options: sizes, keep-alive, quick reconnection and the retry policy for UNAVAILABLE."""
    options: list[tuple[str, str | int]] = [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        # A retry re-sends from this buffer; a request over the default 256 KiB (a photo) would never be retried.
        ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
        # Notices a connection that a firewall forgot; only while calls run, and seldom enough for servers' ping limits.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # The default waits up to two minutes before it looks for a restarted server again.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.primary_user_agent", f"clipsearch-client/{__version__}"),
    ]
    config = retry.service_config()
    if config is None:
        options.append(("grpc.enable_retries", 0))
    else:
        options.append(("grpc.service_config", config))
    return options


def tls_credentials(
    ca: Path | str | None = None, cert: Path | str | None = None, key: Path | str | None = None
) -> grpc.ChannelCredentials:
    """Make a channel's credentials of PEM files: ``ca`` whom to believe (None: the authorities that gRPC ships), and
    for servers that ask for it, ``cert`` and its private ``key``.

    Raises OSError for a file that can't be read and ValueError for a certificate without key or the other way round.
    """
    if (cert is None) != (key is None):
        raise ValueError("a client's certificate and its private key go together: one of them is not given")
    roots, chain, private = (None if file is None else Path(file).read_bytes() for file in (ca, cert, key))
    return grpc.ssl_channel_credentials(roots, private, chain)


def health_request() -> bytes:
    """Serialise the HealthCheckRequest for the server as a whole: no service named, so no field set."""
    return b""


def is_serving(response: bytes) -> bool:
    """Return whether a serialised HealthCheckResponse says SERVING.

    Its one field is the same on the wire as this wrapper's, which spares the base install the health package.
    """
    return wrappers_pb2.Int32Value.FromString(response).value == _SERVING


def not_ready(timeout: float) -> DeadlineExceeded:
    """Make the error of a server that did not report SERVING in time."""
    return DeadlineExceeded(
        f"the server did not report SERVING within {timeout:g} s", code=grpc.StatusCode.DEADLINE_EXCEEDED
    )


def rpc_timeout(seconds: float) -> float | None:
    """Return gRPC's own word for a timeout: None where it is infinite. ValueError unless it is above zero."""
    if not seconds > 0:
        raise ValueError(f"timeout must be above zero seconds, not {seconds}")
    return None if math.isinf(seconds) else seconds
