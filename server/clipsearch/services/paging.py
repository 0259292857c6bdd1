"""Page tokens: which search they go on with, and which hits came before.

A token names the *rows* that were on earlier pages, and the newest row there was when the first one was made. The next
page is then the best of what is left. The alternative is a keyset: the score and row of the last hit, and whatever
stands behind it. It is shorter, and wrong here:

* Scores move between pages. A query is embedded again, and comes out a little different beside other neighbours in its
  batch; a matrix product of one query rounds otherwise than one of eight. Whoever stands next to the cut then comes
  twice or never.
* An approximate index finds some items only when it searches deeper, which the next page does. Behind the cut such an
  item would be lost; among what is left it comes late.
* Who was shown decides who is left out as one of the same group or as a near-duplicate, also where the one shown was
  deleted meanwhile. A score does not say who that was.

So a hit that was shown is known by its number, and nothing else has to hold still. It costs one to four bytes a hit,
which the largest depth of a search bounds.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import BadPageToken
from clipsearch.ports import Rows

_HEADER = struct.Struct("<BB8sqqI")
"""Version, code of the steps, mark, newest row, first row, number of rows."""

_VERSION = 1
_STEPS = ("<u1", "<u2", "<u4", "<u8")


@dataclass(frozen=True, slots=True)
class Before:
    """What the pages so far have used up: ``rows`` int64 [n] ascending; rows above ``newest`` came after the first."""

    newest: int
    rows: Rows

    def shown(self, rows: Rows) -> "Before":
        """Return this with the rows of one more page, in any order."""
        return Before(self.newest, np.sort(np.concatenate([self.rows, rows])))


def mark_of(search: object) -> bytes:
    """Return eight bytes that tell one search from another; ``search`` is made of tuples, texts, numbers and bytes."""
    return hashlib.blake2b(repr(search).encode(), digest_size=8).digest()


def token_of(before: Before, mark: bytes) -> str:
    """Return what the next page is to be asked for with."""
    rows = before.rows
    steps: NDArray[np.int64] = np.diff(rows)
    largest = int(steps.max(initial=0))
    code = sum(largest >= 1 << (8 * size) for size in (1, 2, 4))
    first = int(rows[0]) if len(rows) else 0
    header = _HEADER.pack(_VERSION, code, mark, before.newest, first, len(rows))
    return base64.urlsafe_b64encode(header + steps.astype(_STEPS[code]).tobytes()).rstrip(b"=").decode()


def before_of(token: str, mark: bytes) -> Before:
    """Return what a token stands for; raises BadPageToken unless it is whole and of the search with this ``mark``."""
    try:
        raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, code, found, newest, first, count = _HEADER.unpack_from(raw)
        steps = np.frombuffer(raw, _STEPS[code], offset=_HEADER.size).astype(np.int64)
    except (binascii.Error, UnicodeError, struct.error, IndexError, ValueError) as error:
        raise BadPageToken("the page token is not one of this server's", field="page_token") from error
    if version != _VERSION or len(steps) != max(0, count - 1):
        raise BadPageToken("the page token is not one of this server's", field="page_token")
    if found != mark:
        raise BadPageToken("the page token belongs to another search", field="page_token")
    rows: Rows = np.cumsum(np.concatenate([[first], steps]), dtype=np.int64)[:count]
    if (steps <= 0).any() or (count and (first < 0 or rows[-1] > newest)):
        raise BadPageToken("the page token is not one of this server's", field="page_token")
    return Before(newest, rows)
