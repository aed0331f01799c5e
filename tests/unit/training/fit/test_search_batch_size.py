import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora.buckets.bucket_config import parse_bucket_config
from opensora.core.errors import ConfigError
from opensora.training.fit.search_batch_size import (
    FoundBatchSize,
    best_balanced,
    choose_base,
    fill_in,
    found_table,
    largest_fitting,
    search_all,
)


class Machine:
    """A step takes `start + each * n` seconds, and `memory` samples fit."""

    def __init__(self, memory: int, *, start: float = 0.0, each: float = 1.0) -> None:
        self.memory, self.start, self.each = memory, start, each
        self.asked: list[int] = []

    def __call__(self, batch_size: int) -> float | None:
        self.asked.append(batch_size)
        return None if batch_size > self.memory else self.start + self.each * batch_size


@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 250), st.integers(1, 7))
@settings(max_examples=150)
def test_the_largest_that_fits_is_found_with_few_questions(memory, low, length, step):
    sizes = range(low, low + length, step)
    machine = Machine(memory)
    fitting = [size for size in sizes if size <= memory]
    found = largest_fitting(machine, sizes)
    assert found == (FoundBatchSize(fitting[-1], float(fitting[-1])) if fitting else None)
    assert len(machine.asked) <= 2 * len(sizes).bit_length() + 2
    assert len(machine.asked) == len(set(machine.asked))


@given(st.integers(1, 200), st.floats(0.5, 150), st.integers(1, 120))
@settings(max_examples=150)
def test_the_nearest_time_among_those_that_fit_is_found(memory, target, length):
    sizes = range(1, length + 1)
    found = best_balanced(Machine(memory, start=0.25), sizes, target)
    fitting = [size for size in sizes if size <= memory]
    best = min(abs(size + 0.25 - target) for size in fitting)
    assert found is not None
    assert abs(found.seconds - target) == pytest.approx(best)
    assert found.seconds == found.batch_size + 0.25


def test_the_smallest_stays_even_if_it_takes_longer():
    assert best_balanced(Machine(99, each=10.0), range(2, 9), 5.0) == FoundBatchSize(2, 20.0)
    assert best_balanced(Machine(1), range(2, 9), 5.0) is None


RULES = parse_bucket_config(
    {
        "48px": {16: (0.5, (1, 64)), 8: ((0.5, 0.25), 4)},
        "32px": {16: (1.0, (2, 10, 4)), 1: (1.0, (100,)), 8: (0.0, None)},
    },
    ranges=True,
)


def rule(resolution: str, frames: int):
    return next(r for r in RULES if (r.resolution, r.num_frames) == (resolution, frames))


def measure(asked, batch_size: int) -> float | None:
    """Memory for 4000 units, a second for 1000; a sample has frames x side / 8 units."""
    units = batch_size * asked.num_frames * int(asked.resolution[:2]) / 8
    return None if units > 4000 else units / 1000


def test_every_used_bucket_takes_as_long_as_the_base():
    found = search_all(RULES, measure, base=rule("48px", 16), largest=512)
    # base: 96 units a sample, 41 fit: 3.936 s
    assert found["48px", 16] == FoundBatchSize(41, 3.936)
    assert found["48px", 8] == FoundBatchSize(
        82, 3.936
    )  # its 4 is not a range and is searched anew
    assert found["32px", 16] == FoundBatchSize(10, 0.64)  # the end of its range
    assert found["32px", 1] == FoundBatchSize(100, 0.4)
    assert ("32px", 8) not in found


def test_a_base_with_a_batch_size_keeps_it():
    found = search_all(RULES, measure, base=rule("48px", 8), largest=512)
    assert found["48px", 8] == FoundBatchSize(4, 0.192)
    assert found["48px", 16] == FoundBatchSize(2, 0.192)
    assert found["32px", 16] == FoundBatchSize(2, 0.128)  # of 2, 6, 10


def test_a_batch_is_no_larger_than_the_clips_and_empty_buckets_are_left_out():
    held = {("48px", 16): 7, ("32px", 1): 3}
    found = search_all(RULES, measure, base=rule("48px", 16), largest=512, held=held)
    assert found == {("48px", 16): FoundBatchSize(7, 0.672), ("32px", 1): FoundBatchSize(3, 0.012)}


def test_a_bucket_that_does_not_fit_is_named_and_closed(caplog):
    def tight(asked, batch_size):
        return None if asked.num_frames == 16 else 0.1 * batch_size

    found = search_all(RULES, tight, base=rule("32px", 1), largest=8)
    assert found["48px", 16] is None
    assert "bucket ('48px', 16): a step of 1 samples does not fit" in caplog.text
    filled = fill_in({"48px": {16: (0.5, (1, 64))}}, RULES, found)
    assert filled == {"48px": {16: (0.0, None)}}


def test_a_base_that_does_not_fit_is_an_error():
    with pytest.raises(ConfigError, match="a step of 1 samples does not fit the memory"):
        search_all(RULES, lambda *_: None, base=rule("48px", 16), largest=8)


def test_the_config_keeps_its_chances_and_order():
    config = {
        "32px": {16: (1.0, (2, 10, 4)), "1": (1.0, (100,)), 8: (0.0, None)},
        "48px": {16: (0.5, (1, 64)), 8: ((0.5, 0.25), 4)},
    }
    found = {("48px", 16): FoundBatchSize(41, 1.0), ("32px", 16): FoundBatchSize(10, 1.0)}
    filled = fill_in(config, RULES, found)
    assert filled == {
        "32px": {16: (1.0, 10), 1: (1.0, 1), 8: (0.0, None)},  # 1: the least of its range
        "48px": {16: (0.5, 41), 8: ((0.5, 0.25), 4)},
    }
    assert list(filled) == ["32px", "48px"]
    parse_bucket_config(filled)  # no range is left


def test_the_base_is_asked_for_or_the_costliest():
    assert choose_base(RULES, "32px:1", lambda r: r.num_frames) is rule("32px", 1)
    costliest = choose_base(RULES, None, lambda r: r.num_frames * int(r.resolution[:2]))
    assert costliest is rule("48px", 16)
    with pytest.raises(ConfigError, match="expected one of 48px:16, 48px:8, 32px:16, 32px:1"):
        choose_base(RULES, "32px:8", lambda r: r.num_frames)  # never used


def test_the_table_says_share_and_rate():
    text = found_table({("48px", 16): FoundBatchSize(4, 0.5), ("32px", 1): None}, rule("48px", 16))
    assert "48px|16           4    0.500         1.00        8.0" in text
    assert "32px|1    none fits" in text
