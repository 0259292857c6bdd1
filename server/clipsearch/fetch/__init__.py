"""Downloading pictures from URLs that strangers wrote: bounded in size, time and redirects, and never from inside.

A feed names millions of URLs, some of them slow, huge, moved or hostile. Every fetch here has a limit on each thing
that could hurt: bytes (before and after decompression), seconds in total, redirects, connections. An address is judged
where the socket is opened, so that neither a redirect nor a name that resolves differently the second time leads into
the network that the program runs in (server-side request forgery, DNS rebinding).

    with Fetcher(FetchLimits(concurrency=64)) as fetcher:
        begun = [fetcher.submit(url) for url in urls]
        ...  # each a future of the content, or of the FetchError that took its place

Needs the ``ingest`` extra (aiohttp).
"""

from clipsearch.fetch.errors import FetchError
from clipsearch.fetch.fetcher import Fetcher, fetch_one
from clipsearch.fetch.limits import FetchLimits
from clipsearch.fetch.urls import is_url

__all__ = ["FetchError", "FetchLimits", "Fetcher", "fetch_one", "is_url"]
