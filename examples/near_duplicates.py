"""Find near-duplicates in a collection: groups of items whose pictures are all but the same.

    pip install clipsearch
    python examples/near_duplicates.py --threshold 0.98 --server localhost:50051

Every item is searched for by its own vector, and hits of at least ``--threshold`` (a cosine) are its duplicates; what
hangs together is one group. Where 0.98 means crops and copies depends on the model: look at some groups first. A
large collection has an approximate index, which may miss a pair in some hundreds; ``--nprobe`` makes it more careful.
Prints one group a line, its first item before the others, the largest group first.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence

from clipsearch.client import Client, ClientError, Query


class Groups:
    """Which ids hang together; each group is known by one of them."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def of(self, item_id: str) -> str:
        """Return the id that stands for an item's group."""
        while (above := self._above.setdefault(item_id, item_id)) != item_id:
            # Half the way up is skipped next time.
            self._above[item_id] = self._above.setdefault(above, above)
            item_id = above
        return item_id

    def join(self, one: str, other: str) -> None:
        """Make the groups of two items one."""
        self._above[self.of(other)] = self.of(one)


def pairs(
    client: Client, ids: Sequence[str], *, collection: str, threshold: float, most: int, nprobe: int | None
) -> Iterator[tuple[str, str]]:
    """Yield each pair of ids that are near each other, from either side or both; ``most`` for each item."""
    results = client.search_batch(
        (Query(item_id=item_id) for item_id in ids),
        top_k=most + 1,  # an item is its own nearest
        collection=collection,
        min_score=threshold,
        nprobe=nprobe,
        priority="bulk",
    )
    for item_id, result in zip(ids, results, strict=True):
        if isinstance(result, ClientError):
            # Somebody deletes items meanwhile, or one is damaged: the others still have duplicates.
            print(f"# left out {item_id}: {result}")
            continue
        yield from ((item_id, hit.id) for hit in result.hits if hit.id != item_id)


def near_duplicates(
    client: Client, *, collection: str = "", threshold: float = 0.98, most: int = 20, nprobe: int | None = None
) -> list[list[str]]:
    """Return the groups of two items and more, each sorted by id, the largest first."""
    ids = [item.id for item in client.catalogue.list_items(collection=collection, page_size=1000)]
    groups = Groups()
    near: set[str] = set()
    for one, other in pairs(client, ids, collection=collection, threshold=threshold, most=most, nprobe=nprobe):
        groups.join(one, other)
        near |= {one, other}
    members = defaultdict(list)
    for item_id in sorted(near):
        members[groups.of(item_id)].append(item_id)
    return sorted(members.values(), key=lambda group: (-len(group), group))


def main() -> None:
    """Print the groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="localhost:50051", help="HOST:PORT")
    parser.add_argument("--collection", default="")
    parser.add_argument("--threshold", type=float, default=0.98, help="the least cosine of duplicates")
    parser.add_argument("--most", type=int, default=20, help="how many duplicates of one item to look for")
    parser.add_argument("--nprobe", type=int, help="lists of the index to visit")
    arguments = parser.parse_args()
    with Client(arguments.server) as client:
        groups = near_duplicates(
            client,
            collection=arguments.collection,
            threshold=arguments.threshold,
            most=arguments.most,
            nprobe=arguments.nprobe,
        )
    for group in groups:
        print("  ".join(group))
    print(f"# {sum(map(len, groups))} items in {len(groups)} groups")


if __name__ == "__main__":
    main()
