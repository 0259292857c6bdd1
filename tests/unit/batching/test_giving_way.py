"""Giving the core to others while items are gathered, and keeping it from those who would not give it back."""

from clipsearch.batching.gathering import KEPT_S, REST_S, GivingWay


class Core:
    """A clock, and others who take the core for so long whenever they get it."""

    def __init__(self) -> None:
        self.now = 10.0
        self.taken_s = 0.0
        self.given = 0

    def clock(self) -> float:
        return self.now

    def give(self) -> None:
        self.given += 1
        self.now += self.taken_s


def test_the_core_is_given_in_every_pass_to_those_who_give_it_back() -> None:
    core = Core()
    core.taken_s = 0.9 * KEPT_S
    give_way = GivingWay(core.clock, core.give)
    for _ in range(3):
        give_way()
    assert core.given == 3


def test_who_keeps_the_core_does_not_get_it_again_for_a_while() -> None:
    core = Core()
    core.taken_s = 1.5 * KEPT_S
    give_way = GivingWay(core.clock, core.give)
    began = core.now
    give_way()
    give_way()
    assert core.given == 1
    core.now = began + 0.99 * REST_S
    give_way()
    assert core.given == 1
    core.now = began + 1.01 * REST_S
    give_way()
    assert core.given == 2
