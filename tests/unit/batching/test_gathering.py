from clipsearch.batching.gathering import GATHER_S, QUIET_PASSES, Gathering


def passes_until_over(gathering: Gathering, now: float = 0.0) -> int:
    return next(count for count in range(1, 1000) if gathering.passed(now))


def test_a_gathering_is_over_when_nothing_came_for_some_passes() -> None:
    assert passes_until_over(Gathering(0.0, brief=False)) == QUIET_PASSES + 1


def test_a_brief_one_is_over_in_the_next_pass() -> None:
    assert passes_until_over(Gathering(0.0, brief=True)) == 1


def test_what_comes_makes_it_wait_for_more() -> None:
    gathering = Gathering(0.0, brief=True)
    gathering.came()
    assert passes_until_over(gathering) == QUIET_PASSES + 1


def test_items_that_come_for_ever_hold_it_up_no_longer_than_the_limit() -> None:
    gathering = Gathering(5.0, brief=False)
    for _ in range(10 * QUIET_PASSES):
        gathering.came()
        assert not gathering.passed(5.0 + 0.9 * GATHER_S)
    assert gathering.passed(5.0 + GATHER_S)
