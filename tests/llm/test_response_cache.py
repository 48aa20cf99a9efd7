"""The response cache: what is kept, for how long, and when it is no longer true."""

import random

import pytest

from llm.serving.response_cache import CacheSettings, ResponseCache

NOW = {"model m": "1", "library": "7"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> ResponseCache:
    return ResponseCache(CacheSettings(capacity_mib=1, ttl_s=60), clock=clock)


def test_the_same_is_found_and_something_else_is_not(cache: ResponseCache) -> None:
    assert cache.find(b"a", NOW) is None
    cache.keep(b"a", NOW, b"answer")
    assert cache.find(b"a", NOW) == b"answer"
    assert cache.find(b"b", NOW) is None
    assert cache.find(b"a", {"model m": "1"}) is None
    figures = cache.figures()
    assert (figures.hits, figures.misses, figures.entries) == (1, 3, 1)
    assert figures.bytes >= len(b"answer")


@pytest.mark.parametrize("changed", [{"model m": "2", "library": "7"}, {"model m": "1", "library": "8"}])
def test_what_was_made_from_something_else_is_dropped(cache: ResponseCache, changed: dict[str, str]) -> None:
    cache.keep(b"a", NOW, b"answer")
    cache.keep(b"other", {"model n": "1"}, b"answer")
    assert cache.find(b"a", changed) is None
    assert cache.figures().entries == 1  # it is gone, not only passed over, and the other model's is not
    assert cache.find(b"a", NOW) is None  # even where somebody comes late with what was true before
    assert cache.find(b"other", {"model n": "1"}) == b"answer"


def test_an_answer_begun_before_a_change_is_not_kept(cache: ResponseCache) -> None:
    cache.find(b"a", NOW)
    cache.find(b"b", NOW | {"library": "8"})
    cache.keep(b"a", NOW, b"of yesterday")
    assert cache.figures().entries == 0


def test_a_change_is_noticed_without_a_search(cache: ResponseCache) -> None:
    cache.keep(b"a", NOW, b"answer")
    fresh = NOW | {"library": "8"}
    cache.notice(fresh)
    assert cache.figures() == (0, 0, 0, 0)
    cache.keep(b"a", fresh, b"answer")
    assert cache.find(b"a", fresh) == b"answer"


def test_answers_end_with_their_time(cache: ResponseCache, clock: Clock) -> None:
    cache.keep(b"a", NOW, b"answer")
    clock.now += 30
    cache.keep(b"b", NOW, b"answer")
    assert cache.find(b"a", NOW) is not None
    clock.now += 30  # a hit has not made it younger
    assert cache.find(b"a", NOW) is None
    assert cache.find(b"b", NOW) is not None
    assert cache.figures().entries == 1


def test_the_oldest_make_room_and_the_bound_holds(cache: ResponseCache) -> None:
    size = 50_000
    for n in range(100):
        cache.keep(b"%d" % n, NOW, bytes(size))
        assert cache.figures().bytes <= 1024 * 1024
    assert cache.find(b"99", NOW) is not None
    assert cache.find(b"0", NOW) is None
    assert cache.figures().entries == 1024 * 1024 // (size + 512)


def test_one_answer_does_not_push_out_all_others(cache: ResponseCache) -> None:
    cache.keep(b"small", NOW, b"answer")
    cache.keep(b"huge", NOW, bytes(1024 * 1024 // 8))
    assert cache.find(b"huge", NOW) is None
    assert cache.find(b"small", NOW) == b"answer"


def test_the_figures_add_up_whatever_happens(cache: ResponseCache, clock: Clock) -> None:
    chance = random.Random(5)
    sizes: dict[bytes, int] = {}
    for _ in range(2_000):
        key = b"%d" % chance.randrange(40)
        sources = NOW | {"library": str(chance.randrange(2))} if chance.random() < 0.05 else NOW
        found = cache.find(key, sources)
        assert found is None or len(found) == sizes[key]
        if found is None:
            sizes[key] = chance.randrange(60_000)
            cache.keep(key, sources, bytes(sizes[key]))
        clock.now += chance.random() * 5
        figures = cache.figures()
        assert 0 <= figures.bytes <= 1024 * 1024
        assert (figures.entries == 0) == (figures.bytes == 0)
    assert cache.figures().hits > 50


@pytest.mark.parametrize("settings", [CacheSettings(ttl_s=0), CacheSettings(capacity_mib=0)])
def test_it_is_switched_off_by_a_nought(settings: CacheSettings) -> None:
    cache = ResponseCache(settings)
    assert not cache.enabled
    cache.keep(b"a", NOW, b"answer")
    assert cache.find(b"a", NOW) is None
