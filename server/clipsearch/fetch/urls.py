"""What a URL must be, and how it is shown to people."""

import re

from yarl import URL

from clipsearch.fetch.errors import InsecureRedirect, InvalidUrl

SCHEMES = ("http", "https")
MAX_URL_CHARACTERS = 8192
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_AS_ON_THE_WIRE = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


def is_url(text: str) -> bool:
    """Return whether a value names something to download rather than a file: it begins with http:// or https://."""
    return _SCHEME.match(text) is not None


def parse(text: str) -> URL:
    """Return the URL of a text; raises InvalidUrl unless it is an absolute one of http or https."""
    text = text.strip(" ")
    if len(text) > MAX_URL_CHARACTERS:
        raise InvalidUrl(f"the URL has {len(text):,} characters; the limit is {MAX_URL_CHARACTERS:,}")
    if not text.isprintable():
        raise InvalidUrl("the URL holds control characters")
    try:
        # What is in its final form already is sent exactly so: a signature may depend on every percent sign.
        url = URL(text, encoded=_AS_ON_THE_WIRE.fullmatch(text) is not None)
        port = url.port
        if url.host is not None and not url.host.isascii():
            url.host.encode("idna")
    except ValueError as error:  # UnicodeError included
        raise InvalidUrl("the URL is malformed") from error
    if url.scheme not in SCHEMES:
        named = f"not {url.scheme!r}" if url.scheme else "and it has no scheme"
        raise InvalidUrl(f"only http and https URLs are downloaded, {named}")
    if not url.host:
        raise InvalidUrl("the URL names no host")
    if port == 0:
        raise InvalidUrl("the URL names port 0")
    return url


def redirected(url: URL, location: str) -> URL:
    """Return where a redirect leads, a relative one resolved. Raises as ``parse``, and InsecureRedirect."""
    try:
        target = parse(str(url.join(URL(location, encoded=_AS_ON_THE_WIRE.fullmatch(location) is not None))))
    except ValueError as error:
        raise InvalidUrl(f"{masked(url)} redirects to a malformed URL") from error
    except InvalidUrl as error:
        raise InvalidUrl(f"{masked(url)} redirects to a URL that is not followed: {error.message}") from error
    if url.scheme == "https" and target.scheme == "http":
        raise InsecureRedirect(f"{masked(url)} redirects from https to http ({masked(target)})")
    return target


def masked(url: URL) -> str:
    """Return a URL for a message: user, password, query and fragment may be secrets and are replaced by ``***``."""
    user = "***@" if url.raw_user is not None or url.raw_password is not None else ""
    query = "?***" if url.raw_query_string else ""
    port = "" if url.explicit_port is None else f":{url.explicit_port}"
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    return f"{url.scheme}://{user}{host}{port}{url.raw_path}{query}"
