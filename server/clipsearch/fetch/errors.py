"""Why a download failed: one class for each reason, so that callers may switch on the class or on ``reason``.

Messages name the URL without what may be secret in it (see ``urls.masked``).
"""

from clipsearch.errors import ClipsearchError, Code


class FetchError(ClipsearchError):
    """Base of everything a fetch raises. ``retryable`` says whether the same URL may work a moment later."""

    code = Code.UNAVAILABLE
    reason = "FETCH_FAILED"


class InvalidUrl(FetchError):
    """No URL at all, or one of another scheme than http and https."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_URL"


class ForbiddenAddress(FetchError):
    """The URL leads to an address that is not public, and nobody allowed it."""

    code = Code.INVALID_ARGUMENT
    reason = "FORBIDDEN_ADDRESS"


class NameNotResolved(FetchError):
    """The host has no address."""

    reason = "NAME_NOT_RESOLVED"


class ResolverFailed(NameNotResolved):
    """The name servers gave no answer this time."""

    retryable = True


class ConnectionFailed(FetchError):
    """The connection was refused, reset, or ended before the whole answer was there."""

    reason = "CONNECTION_FAILED"
    retryable = True


class TlsFailed(FetchError):
    """The certificate is not valid for the host, or no secure connection could be agreed on."""

    reason = "TLS_FAILED"


class TimedOut(FetchError):
    """The server was silent for too long."""

    code = Code.DEADLINE_EXCEEDED
    reason = "TIMED_OUT"
    retryable = True


class TotalTimeExceeded(TimedOut):
    """All tries together took longer than they may; there is no time left for another."""

    retryable = False


class TooLarge(FetchError):
    """More bytes than the limit, as sent or once decompressed."""

    code = Code.INVALID_ARGUMENT
    reason = "TOO_LARGE"


class TooManyRedirects(FetchError):
    """A longer chain of redirects than the limit; most are loops."""

    reason = "TOO_MANY_REDIRECTS"


class InsecureRedirect(FetchError):
    """An https URL that redirects to http: what it promised about who is answering would be lost."""

    reason = "INSECURE_REDIRECT"


class BadAnswer(FetchError):
    """Not HTTP, or a body that is not encoded as it claims."""

    reason = "BAD_ANSWER"


class HttpStatus(FetchError):
    """An answer with another status than 200; ``status`` has it."""

    reason = "HTTP_STATUS"

    def __init__(self, message: str, status: int, *, retry_after_s: float | None = None) -> None:
        super().__init__(message, metadata={"status": str(status)}, retry_after_s=retry_after_s)
        self.status = status


class TransientStatus(HttpStatus):
    """A status that says that a later try may work: 429, 502, 503 or 504."""

    retryable = True
