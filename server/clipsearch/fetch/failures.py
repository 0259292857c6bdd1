"""The errors of aiohttp told apart. Its own texts are not passed on: they may hold the whole URL, secrets included."""

import ssl

import aiohttp

from clipsearch.fetch import errors

_LOST: list[tuple[type[Exception] | tuple[type[Exception], ...], type[errors.FetchError], str]] = [
    # From the particular to the general.
    (aiohttp.InvalidURL, errors.InvalidUrl, "the URL is malformed"),
    (aiohttp.ServerTimeoutError, errors.TimedOut, "no connection, or no byte, for too long"),
    ((aiohttp.ClientSSLError, ssl.SSLError), errors.TlsFailed, "no secure connection could be made"),
    (aiohttp.ClientPayloadError, errors.ConnectionFailed, "the connection ended before the whole body was there"),
    ((aiohttp.ClientConnectionError, OSError), errors.ConnectionFailed, "the connection was lost"),
    (aiohttp.ClientError, errors.BadAnswer, "the answer is no HTTP"),
]


def told_apart(error: aiohttp.ClientError | OSError, shown_url: str) -> errors.FetchError:
    """Return our error for one that came out of a request."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        why = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "it is not valid"
        return errors.TlsFailed(f"{shown_url}: the certificate can't be trusted: {why}")
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        return errors.ConnectionFailed(f"{shown_url}: can't connect: {error.os_error.strerror or 'no reason given'}")
    kind, sentence = next((kind, sentence) for cause, kind, sentence in _LOST if isinstance(error, cause))
    return kind(f"{shown_url}: {sentence}")
