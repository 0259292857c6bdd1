"""How an index is shaped before anything is measured: the documented rules from (N, d) to its parameters.

The rules give a starting point that is right within a factor of two; ``tuning`` then measures recall and sets what can
be set after training (nprobe and overfetch). ``docs/index.md`` explains each rule and shows the figures behind it.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

FLAT_LIMIT = 20_000
"""Up to this many vectors an exact scan is as fast as an inverted file (0.8 ms at d = 512 on one core), and exact."""

CODE_BYTES = (64, 56, 48, 40, 32, 28, 24, 20, 16, 12, 8, 4, 3, 2, 1)
"""Code sizes that the classic FAISS GPU kernels accept, so that one file serves on a CPU and on a GPU."""

POINTS_PER_LIST = 64
"""Training points per coarse centroid; FAISS warns under 39, more than 64 did not change recall measurably."""

POINTS_PER_CODEWORD = 64
"""Training points per product-quantiser codeword (256 of them per sub-vector)."""

MAX_SAMPLE_BYTES = 1 << 30
"""The float32 training sample never takes more memory than this."""

MAX_OVERFETCH = 64
"""Tuning never asks for more than this many candidates per result."""


class Kind(StrEnum):
    """What kind of index; AUTO is a request and never the kind of a stored index."""

    AUTO = "auto"
    FLAT = "flat"
    IVFPQ = "ivfpq"


class Training(StrEnum):
    """Whether an IVF-PQ index is trained, or takes over what the one before it was trained to (see ``readd``).

    WHERE_NEEDED trains where the vectors call for it. NEVER is for a build that has to be quick: it measures nothing
    either.
    """

    ALWAYS = "always"
    WHERE_NEEDED = "where_needed"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class IvfPqShape:
    """Parameters fixed at training time, and where tuning starts.

    ``nlist`` inverted lists; ``m`` bytes per code (8 bits for each of ``m`` sub-vectors); ``sample`` training vectors;
    ``nprobe`` lists visited and ``overfetch`` candidates per result before tuning.
    """

    nlist: int
    m: int
    sample: int
    nprobe: int
    overfetch: float


def choose_kind(n: int, asked: Kind = Kind.AUTO) -> Kind:
    """Return FLAT up to ``FLAT_LIMIT`` vectors and IVFPQ above it, unless one was asked for by name."""
    if asked is not Kind.AUTO:
        return asked
    return Kind.FLAT if n <= FLAT_LIMIT else Kind.IVFPQ


def choose_nlist(n: int) -> int:
    """Return the power of two nearest to 4·√n that leaves at least 39 vectors per list.

    A query compares ``nlist`` centroids and then scans ``nprobe · n / nlist`` codes; both sides are balanced at a
    multiple of √n (Jégou et al., 2011, IEEE TPAMI 33(1), §4.2), and 4 is where FAISS's guidelines put it for n up to
    a million. The floor is FAISS's own minimum of training points per centroid.
    """
    if n < 1:
        raise ValueError(f"an index needs at least one vector, not {n}")
    wanted = 2 ** round(math.log2(4 * math.sqrt(n)))
    while wanted > 1 and wanted * 39 > n:
        wanted //= 2
    return int(wanted)


def choose_m(d: int) -> int:
    """Return the bytes per code: the largest supported size that divides ``d`` and is at most ``d / 2``.

    64 at d = 512 (8 coordinates per byte) and from 128 up wherever 64 divides d; 32 at d = 64, 48 at d = 96. Codes only
    choose candidates, which are re-ranked exactly, so more bytes than 64 buy nothing that overfetch does not.
    """
    if d < 1:
        raise ValueError(f"a vector has at least one coordinate, not {d}")
    return next((m for m in CODE_BYTES if d % m == 0 and 2 * m <= d), 1)


def choose_sample(n: int, d: int, nlist: int) -> int:
    """Return how many vectors to train on: 64 per list and at least 65,536, within ``n`` and a gibibyte of float32."""
    wanted = max(POINTS_PER_LIST * nlist, 65_536)
    return max(min(n, wanted, MAX_SAMPLE_BYTES // (4 * d)), min(n, nlist))


def choose_shape(n: int, d: int) -> IvfPqShape:
    """Return all of the above for ``n`` vectors of ``d`` coordinates."""
    nlist = choose_nlist(n)
    return IvfPqShape(
        nlist=nlist,
        m=choose_m(d),
        sample=choose_sample(n, d, nlist),
        nprobe=max(1, min(nlist, max(8, nlist // 64))),
        overfetch=10.0,
    )
