"""What an item asks of a lane, and the place in it that it is given."""

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from clipsearch.ports import Priority

if TYPE_CHECKING:
    from clipsearch.batching.admission import Admission

NEVER = float("inf")
"""The deadline of those who set none."""


@dataclass(slots=True)
class Demand:
    """What an item asks of a lane, or several items of one caller together."""

    priority: Priority = Priority.INTERACTIVE
    caller: str = ""
    deadline: float = NEVER
    """On the lane's clock."""
    cost: int = 1
    """As the lane's policy counts, estimated where it is not known yet."""
    held_bytes: int = 0
    ready_s: float = 0.0
    """Seconds until it can join the queue, as far as known."""
    count: int = 1
    """Number of items."""


class Place:
    """An item's place in a lane: a context manager, or to be left by hand. Only the first time it is left counts."""

    __slots__ = ("_admission", "_demand", "_entered", "_held", "_limit_s")

    def __init__(self, admission: "Admission", demand: Demand, limit_s: float | None) -> None:
        """``limit_s`` is the time in which it was predicted to be done, None where nobody wants to know."""
        self._admission, self._demand, self._limit_s = admission, demand, limit_s
        self._entered = 0.0 if limit_s is None else admission.clock()
        self._held = True

    def __enter__(self) -> "Place":
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Give the place back, and tell how the prediction did where that can be told."""
        self.leave()
        if self._limit_s is None:
            return
        took_s = self._admission.clock() - self._entered
        if kind is None or took_s > self._limit_s:
            self._admission.held_prediction(held=took_s <= self._limit_s)

    @property
    def caller(self) -> str:
        """Whose it is."""
        return self._demand.caller

    def leave(self) -> None:
        """Give the place back without a word on how long it took."""
        if self._held:
            self._held = False
            self._admission.left(self._demand)

    def recost(self, cost: int) -> None:
        """Replace the estimate of the item's cost by what it turned out to be."""
        if self._held and cost != self._demand.cost:
            self._admission.recosted(self._demand, cost)
            self._demand.cost = cost
