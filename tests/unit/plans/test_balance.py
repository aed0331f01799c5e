import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora.buckets.bucket import Bucket, assign_buckets
from opensora.core.errors import ConfigError
from opensora.plans.balance import check_balance_mode
from opensora.plans.compile import compile_plan

CONFIG = {"32px": {1: (1.0, 3), 8: (1.0, 4), 16: (1.0, 2)}, "24px": {8: (1.0, 2), 16: (1.0, 1)}}
SHAPES = ((32, 32), (24, 40), (20, 32), (24, 24))

clip_tables = st.lists(
    st.tuples(st.sampled_from([1, 8, 16]), st.sampled_from(SHAPES)), min_size=12, max_size=90
)


def table(rows) -> pd.DataFrame:
    frame = pd.DataFrame(
        [(t, h, w) for t, (h, w) in rows], columns=["num_frames", "height", "width"]
    )
    return frame.assign(id=[f"clip{i}" for i in range(len(frame))])


def tokens(bucket: Bucket) -> float:
    return bucket.num_frames * bucket.size[0] * bucket.size[1]


def compiled(clips, *, world_size, epochs=3, seed=0, balanced=True) -> pd.DataFrame:
    cost = tokens if balanced else None
    return compile_plan(
        [assign_buckets(clips, CONFIG, seed=seed)],
        CONFIG,
        seed=seed,
        epochs=epochs,
        world_size=world_size,
        sample_cost=cost,
    )


def batches(plan: pd.DataFrame, epoch: int) -> set[tuple[str, ...]]:
    return {tuple(ids) for ids in plan.loc[plan["epoch"] == epoch, "ids"]}


def costs(plan: pd.DataFrame) -> np.ndarray:
    return np.array(
        [tokens(Bucket.parse(b)) * len(i) for b, i in zip(plan["bucket"], plan["ids"], strict=True)]
    )


@given(clip_tables, st.integers(1, 7), st.integers(0, 5))
@settings(max_examples=60)
def test_a_balanced_plan_has_the_batches_of_a_random_one(rows, world_size, seed):
    clips = table(rows)
    try:
        balanced = compiled(clips, world_size=world_size, seed=seed)
    except ConfigError:
        return  # too few clips
    plain = compiled(clips, world_size=1, seed=seed, balanced=False)
    assert balanced["epoch"].is_monotonic_increasing
    assert len(balanced) == len(plain) // world_size * world_size
    for epoch in range(3):
        mine, wanted = batches(balanced, epoch), batches(plain, epoch)
        assert mine <= wanted
        if epoch < balanced["epoch"].max():  # only the end of the whole plan is left out
            assert mine == wanted
    used = balanced.explode("ids")
    assert not used.duplicated(["epoch", "ids"]).any()


@given(clip_tables, st.integers(1, 5))
@settings(max_examples=30)
def test_a_balanced_plan_does_not_depend_on_the_row_order(rows, world_size):
    clips = table(rows)
    try:
        first = compiled(clips, world_size=world_size)
    except ConfigError:
        return
    second = compiled(clips.sample(frac=1, random_state=3), world_size=world_size)
    assert first.attrs["hash"] == second.attrs["hash"]
    assert first["ids"].tolist() == second["ids"].tolist()


def test_steps_inside_an_epoch_hold_equal_costs():
    # 8 batches of each of three costs on 4 ranks: every step can be of one cost
    rows = [(16, (32, 32))] * 16 + [(8, (32, 32))] * 32 + [(1, (32, 32))] * 24
    plan = compiled(table(rows), world_size=4, epochs=5)
    by_step = costs(plan).reshape(-1, 4)
    assert len(by_step) == 5 * 6
    np.testing.assert_array_equal(by_step.max(axis=1), by_step.min(axis=1))
    first_costs = by_step[:6, 0]
    assert sorted(first_costs) != first_costs.tolist()  # the steps are shuffled
    assert len(set(map(tuple, by_step[:, 0].reshape(5, 6)))) > 1  # otherwise in each epoch


def test_an_epoch_that_ends_inside_a_step_is_filled_with_batches_of_its_cost():
    # 6 cheap and 4 dear batches on 3 ranks: one is left over, and the next epoch adds two
    rows = [(16, (32, 32))] * 8 + [(1, (32, 32))] * 18
    plan = compiled(table(rows), world_size=3, epochs=3)
    assert len(plan) == 30
    by_step, epochs = costs(plan).reshape(-1, 3), plan["epoch"].to_numpy().reshape(-1, 3)
    across = epochs.min(axis=1) != epochs.max(axis=1)
    assert across.sum() == 2
    np.testing.assert_array_equal(by_step[across].min(axis=1), by_step[across].max(axis=1))


def test_balance_beats_chance():
    rng = np.random.default_rng(0)
    rows = [(int(rng.choice([1, 8, 16])), SHAPES[rng.integers(4)]) for _ in range(3000)]
    spread = {}
    for balanced in (False, True):
        plan = compiled(table(rows), world_size=16, epochs=2, balanced=balanced)
        by_step = costs(plan).reshape(-1, 16)
        spread[balanced] = (by_step.max(axis=1) / by_step.mean(axis=1)).mean()
    assert spread[True] < 1.05 < spread[False]


def test_another_world_size_is_another_sequence_of_the_same_batches():
    rows = [(16, (32, 32))] * 40 + [(8, (32, 32))] * 60
    two, four = (compiled(table(rows), world_size=w, epochs=1) for w in (2, 4))
    assert batches(two, 0) >= batches(four, 0)
    assert two.attrs["hash"] != four.attrs["hash"]


def test_a_cheap_batch_is_not_always_the_first_ranks():
    # steps of mixed cost: 2 cheap, 2 dear batches on 4 ranks
    rows = [(16, (32, 32))] * 4 + [(1, (32, 32))] * 6
    plan = compiled(table(rows), world_size=4, epochs=30)
    share = costs(plan).reshape(-1, 4).argmin(axis=1)
    assert len(set(share.tolist())) > 1


@pytest.mark.parametrize(
    ("value", "meaning"), [(None, "random"), ("random", "random"), ("cost", "cost")]
)
def test_the_field_balance(value, meaning):
    assert check_balance_mode(value) == meaning


@pytest.mark.parametrize("value", ["time", True, 1])
def test_another_balance_is_refused(value):
    with pytest.raises(ConfigError, match="expected 'random', 'cost' or None"):
        check_balance_mode(value)
