"""Which of the waiting items make the next batch. Pure functions: no clock, no threads."""

from collections.abc import Sequence
from dataclasses import dataclass

from clipsearch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """The limits of one lane's batches.

    Cost counts tokens where items are texts, which are padded to the longest of their batch; pictures and queries have
    length 1, so there it counts items.
    """

    max_items: int
    """Most items in a batch."""
    max_cost: int
    """Largest cost of a batch, that of its padding included; an item over it goes alone."""
    batch_overhead: int = 0
    """What one more batch costs beyond its items, in the same unit. Padding that wastes more than this is not worth
    saving a batch, so items of other lengths are then left for the next one."""
    bulk_share: float = 0.2
    """Share of the lane's cost that bulk items get while interactive ones wait too."""
    max_delay_s: float = 0.0
    """How long a batch that is not full waits for company, in seconds. 0: not at all."""
    padding_cost: float = 1.0
    """What one place of padding costs beside one of an item: 1 where it is computed like any other."""

    def __post_init__(self) -> None:
        if self.max_items < 1 or self.max_cost < 1:
            raise ConfigError("a batch must be allowed at least one item and a cost of one")
        if self.batch_overhead < 0 or self.max_delay_s < 0:
            raise ConfigError("batch_overhead and max_delay_s must not be negative")
        if not 0.0 <= self.bulk_share < 1.0:
            raise ConfigError("bulk_share must lie in [0, 1)")
        if not 0.0 <= self.padding_cost <= 1.0:
            raise ConfigError("padding_cost must lie in [0, 1]")

    def padding(self, items: int, longest: int, real: int) -> float:
        """Return what the padding of a batch costs whose ``items`` have lengths of ``real`` together."""
        return (items * longest - real) * self.padding_cost


def is_full(lengths: Sequence[int], policy: BatchPolicy) -> bool:
    """Whether these lengths fill a batch, so that waiting longer cannot improve it."""
    return len(lengths) >= policy.max_items or sum(lengths) >= policy.max_cost


def choose(lengths: Sequence[int], policy: BatchPolicy) -> list[int]:
    """Choose the positions that join the oldest item (position 0) in one batch, in ascending order.

    ``lengths`` are those of the waiting items, oldest first. The batch grows from the oldest item towards the nearest
    lengths on either side while the budget holds and padding wastes no more than another batch would cost. The oldest
    is always taken, so nothing starves.
    """
    if len(lengths) == 1:
        return [0]
    if min(lengths) == max(lengths):
        room = max(1, policy.max_cost // lengths[0])
        return list(range(min(len(lengths), policy.max_items, room)))
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    low = high = order.index(0)
    real = lengths[0]
    while high - low + 1 < policy.max_items:
        shorter = lengths[order[low - 1]] if low > 0 else None
        longer = lengths[order[high + 1]] if high + 1 < len(order) else None
        side = _nearer(lengths[0], shorter, longer)
        if side == 0:
            break
        step_low, step_high = (low - 1, high) if side < 0 else (low, high + 1)
        longest = lengths[order[step_high]]
        real_after = real + lengths[order[step_low if side < 0 else step_high]]
        padding = policy.padding(step_high - step_low + 1, longest, real_after)
        if real_after + padding > policy.max_cost or padding > policy.batch_overhead:
            break
        low, high, real = step_low, step_high, real_after
    return sorted(order[low : high + 1])


def _nearer(leader: int, shorter: int | None, longer: int | None) -> int:
    """-1 to take the shorter neighbour next, 1 the longer, 0 when there is neither."""
    if shorter is None:
        return 0 if longer is None else 1
    if longer is None:
        return -1
    return -1 if leader - shorter <= longer - leader else 1
