"""docs/operating.md: what models and collections take, by formulas that start from measurements."""

from clipsearch.index.drift import delta_limit
from clipsearch.index.rules import Kind, choose_kind, choose_shape
from docs.generator.results import result

MIB, GIB = 2**20, 2**30
MEASURED_ITEMS = 1_000_000
D = 512
SIZES = (20_000, 100_000, 1_000_000, 10_000_000)


def model_table() -> str:
    """What a server of a ViT-B/32 holds without a collection."""
    lines = ["| ViT-B/32 on two cores | own memory, at the start | after load | mapped files |"]
    lines.append("| --- | ---: | ---: | ---: |")
    for name, one in result("sizing")["served"].items():
        start, load = one["at_start"], one["after_load"]
        sizes = (start["own_bytes"], load["own_bytes"], load["mapped_bytes"])
        lines.append(f"| {name} | {' | '.join(f'{size / MIB:,.0f} MiB' for size in sizes)} |")
    return "\n".join(lines) + "\n"


def collection_table() -> str:
    """What a collection of d = 512 takes: what is measured at a million, and by the formulas for other sizes."""
    lines = ["| items, d = 512 | index | own memory | mapped | delta, at most | disk | disk while rebuilding |"]
    lines.append("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for n in SIZES:
        index = n * (2 * D + index_bytes(n) + _ids_bytes())
        disk = n * catalogue_bytes() + index
        cells = [n * own_bytes(n), 2 * D * n, delta_limit(n) * 4 * D, disk, disk + index]
        kind = choose_kind(n).value
        lines.append(f"| {n:,} | {kind} | {' | '.join(map(_size, cells))} |")
    return "\n".join(lines) + "\n"


def index_bytes(n: int) -> float:
    """Bytes per item of codes, positions and centroids; none where the index is exact."""
    if choose_kind(n) is Kind.FLAT:
        return 0.0
    shape = choose_shape(n, D)
    return shape.m + 8 + 4 * D * shape.nlist / n


def own_bytes(n: int) -> float:
    """Bytes per item that an open collection has to itself: the index, and what was measured beside it."""
    vectors = 4.0 * D if choose_kind(n) is Kind.FLAT else 0.0
    return vectors + index_bytes(n) + beside_index_bytes()


def beside_index_bytes() -> float:
    """Bytes per item of ids, rows and what else an open collection keeps, as measured at a million."""
    return _live("restart", "warm: own memory of an open collection") - index_bytes(MEASURED_ITEMS)


def catalogue_bytes() -> float:
    """Bytes per item of the catalogue on disk, as measured at a million with small metadata."""
    whole = _live("build", "on disk, catalogue and index") * MIB / MEASURED_ITEMS
    return whole - _live("build", "outside the re-rank vectors") - _live("build", "re-rank vectors")


def _size(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / MIB:,.0f} MiB"


def _ids_bytes() -> float:
    return _live("build", "ids and rows")


def _live(section: str, name: str) -> float:
    lines = result("live_catalogue")["sections"][section]["lines"]
    return float(next(line["value"]["median"] for line in lines if line["name"] == name))
