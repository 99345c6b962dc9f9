"""The token bucket: bursts, then the rate, then patience."""

from broadcast.engine.throttle import CALM, PATIENCE, Budget, TokenBucket, allowance


def test_a_burst_passes_at_once_and_what_follows_waits(clock):
    bucket = TokenBucket(rate=2, burst=3, monotonic=clock)
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]


def test_waiting_is_told_exactly_and_suffices_and_asking_in_vain_costs_nothing(clock):
    bucket = TokenBucket(rate=4, burst=1, monotonic=clock)
    assert bucket.take() == 0
    for wait in (0.25, 0.125):
        assert [bucket.take() for _ in range(100)] == [wait] * 100
        clock.now += 0.125
    assert bucket.take() == 0


def test_a_long_silence_saves_no_more_than_a_burst(clock):
    bucket = TokenBucket(rate=10, burst=2, monotonic=clock)
    clock.now += 3600
    assert [bucket.take() > 0 for _ in range(3)] == [False, False, True]


def pour(budget: Budget, now: float, frames: int) -> float:
    budget.spend(frames, 0)
    return budget.refill(now) if budget.is_spent else 0.0


def test_a_budget_holds_up_who_spends_it_and_forgives_who_is_calm():
    budget, now = Budget(), 0.0
    assert pour(budget, now, 1) == 0
    assert pour(budget, now, round(allowance().frames) - 2) == 0
    while not budget.is_poured_over:
        wait = pour(budget, now, 100)
        assert wait > 0
        now += wait
        assert now < PATIENCE * 3
    assert pour(budget, now + CALM * 2, 1000) > 0
    assert not budget.is_poured_over
    assert pour(budget, now + 1000, 1) == 0
