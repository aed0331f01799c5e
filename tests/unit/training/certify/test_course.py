import pytest

from opensora.core.errors import ConfigError
from opensora.training.certify.course import Course, choose_course, other_number


def course(**changes: object) -> Course:
    usual = {"entries": 100, "done": (0, 0), "num_steps": None, "accumulate": 1}
    groups = {"groups": 1, "other_groups": 2, "sp_size": 1}
    return choose_course(8, **{**usual, **groups, **changes})


def test_eight_steps_are_stopped_killed_and_saved_between() -> None:
    found = course()
    assert (found.steps, found.total, found.ckpt_every) == (8, 51, 2)
    assert (found.stop_in, found.kill_after) == (2, 5)  # a checkpoint after step 3, and after 4


def test_the_schedule_ends_where_the_plan_ends_for_the_other_number() -> None:
    found = course(entries=12, num_steps=12)
    assert (found.steps, found.total) == (7, 7)  # three steps of one, then four of two and one left
    assert [len(block) for block in found.blocks(3)] == [1, 1, 1, 2, 2, 2, 2]
    assert found.blocks(3)[-1] == range(9, 11)


def test_a_loaded_checkpoint_is_where_it_starts() -> None:
    found = course(done=(20, 40), groups=2, other_groups=1, accumulate=2)
    assert (found.first, found.until, found.total) == (20, 28, 35)
    assert found.blocks(23)[0] == range(40, 44)
    assert found.blocks(23)[3] == range(52, 54)


def test_a_plan_of_few_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 steps left, and its plan 3 micro batches"):
        course(entries=3)


@pytest.mark.parametrize(
    ("groups", "sp_size", "gpus", "expected"),
    [
        *[(1, 1, 0, 2), (2, 1, 0, 1), (3, 1, 0, 1), (4, 2, 0, 2), (9, 1, 0, 3)],
        *[(1, 2, 2, None), (1, 2, 4, 2), (1, 1, 1, None), (8, 1, 8, 4)],
    ],
)
def test_another_number_is_two_for_one_or_a_divisor(groups, sp_size, gpus, expected) -> None:
    assert other_number(groups, sp_size, gpus) == expected
