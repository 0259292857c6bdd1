"""Reading a body within its limit, decompressed by ourselves: a small body can unpack to one that fills the memory."""

import zlib
from collections.abc import AsyncIterator

from clipsearch.fetch.errors import BadAnswer, TooLarge

_ENCODINGS = {
    "gzip": 16 + zlib.MAX_WBITS,
    "x-gzip": 16 + zlib.MAX_WBITS,
    "deflate": zlib.MAX_WBITS,
}


async def read_body(chunks: AsyncIterator[bytes], encoding: str, max_bytes: int, shown_url: str) -> bytes:
    """Return the content of a body; at no time is more than the limit and one chunk held.

    ``encoding`` is the Content-Encoding header. We ask for none, but some servers store their files compressed.
    Raises TooLarge, counting the bytes sent and the bytes unpacked; BadAnswer for an encoding that we don't know and
    for a body that does not keep to it.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return await _plain(chunks, max_bytes, shown_url)
    if encoding not in _ENCODINGS:
        raise BadAnswer(f"{shown_url} answers in the encoding {encoding[:40]!r}, which was not asked for")
    return await _unpacked(chunks, zlib.decompressobj(_ENCODINGS[encoding]), max_bytes, shown_url)


async def _plain(chunks: AsyncIterator[bytes], max_bytes: int, shown_url: str) -> bytes:
    content = bytearray()
    async for chunk in chunks:
        if len(content) + len(chunk) > max_bytes:
            raise too_large(shown_url, max_bytes)
        content += chunk
    return bytes(content)


async def _unpacked(chunks: AsyncIterator[bytes], unpack: "zlib._Decompress", max_bytes: int, shown_url: str) -> bytes:
    content, sent = bytearray(), 0
    async for chunk in chunks:
        sent += len(chunk)
        try:
            content += unpack.decompress(chunk, max_bytes + 1 - len(content))
        except zlib.error as error:
            raise BadAnswer(f"{shown_url} sent a body that can't be decompressed") from error
        if sent > max_bytes or len(content) > max_bytes:
            raise too_large(shown_url, max_bytes)
    if not unpack.eof:
        raise BadAnswer(f"{shown_url} sent a compressed body that is cut off")
    return bytes(content)


def too_large(shown_url: str, max_bytes: int) -> TooLarge:
    """Return the error of a body over the limit."""
    return TooLarge(f"{shown_url} has more than {max_bytes:,} bytes")
