"""How much was done a second."""

from ingest.rate import Rate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_between_two_batches_the_rate_stands_still() -> None:
    clock = Clock()
    rate = Rate(clock)
    for at in (8.0, 16.0):
        clock.now = at
        rate.note(240)
    told = set()
    for later in range(16, 25):
        clock.now = float(later)
        told.add(rate.a_second())
    assert told == {30.0}
    clock.now = 32.0
    assert rate.a_second() == 20.0  # twice as long as any batch took: it has become slower


def test_the_first_batch_after_a_rest_is_not_taken_for_a_moments_work() -> None:
    clock = Clock()
    rate = Rate(clock)
    clock.now = 1000.0
    rate.note(256)
    assert rate.a_second() is None
    clock.now = 1008.0
    rate.note(256)
    assert (rate.a_second(), rate.total) == (32.0, 512)
