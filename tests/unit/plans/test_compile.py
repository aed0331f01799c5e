import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora.buckets.bucket import Bucket, assign_buckets
from opensora.buckets.bucket_config import parse_bucket_config
from opensora.core.errors import ConfigError, TableError
from opensora.plans.back_off import merge_small_cells
from opensora.plans.compile import BatchPlan, compile_plan, write_plan
from opensora.plans.micro_batches import form_batches

CONFIG = {"32px": {1: (1.0, 3), 8: (0.7, 4), 16: ((0.8, 0.5), 5)}, "24px": {8: (1.0, 2)}}
SHAPES = ((24, 40), (32, 32), (40, 24), (20, 32), (60, 36))

clip_tables = st.lists(
    st.tuples(st.sampled_from([1, 8, 12, 16, 30]), st.sampled_from(SHAPES)), min_size=1, max_size=60
).map(
    lambda rows: pd.DataFrame(
        {
            "id": [f"clip{i}" for i in range(len(rows))],
            "num_frames": [frames for frames, _ in rows],
            "height": [shape[0] for _, shape in rows],
            "width": [shape[1] for _, shape in rows],
        }
    )
)


def batch_sizes() -> dict[tuple[str, int], int | None]:
    return {(r.resolution, r.num_frames): r.batch_size for r in parse_bucket_config(CONFIG)}


def compiled(clips: pd.DataFrame, *, epochs: int, world_size: int, seed: int = 0) -> pd.DataFrame:
    assignments = [assign_buckets(clips, CONFIG, seed=seed, epoch=e) for e in range(epochs)]
    return compile_plan(assignments, CONFIG, seed=seed, epochs=epochs, world_size=world_size)


@given(clip_tables, st.integers(1, 3), st.integers(1, 4), st.integers(0, 9))
@settings(max_examples=80)
def test_every_plan_is_full_fair_and_fits(clips, epochs, world_size, seed):
    try:
        plan = compiled(clips, epochs=epochs, world_size=world_size, seed=seed)
    except ConfigError:
        return  # too few clips; the error has tests of its own
    sizes = batch_sizes()
    frames = dict(zip(clips["id"], clips["num_frames"], strict=True))
    for row in plan.itertuples():
        bucket = Bucket.parse(row.bucket)
        assert len(row.ids) == sizes[bucket.resolution, bucket.num_frames]  # full
        assert len(set(row.ids)) == len(row.ids)
        for name in row.ids:
            assert frames[name] >= bucket.num_frames  # every clip fits
            assert (frames[name] == 1) == (bucket.num_frames == 1)
    # one clip at most once an epoch
    used = plan.explode("ids")
    assert not used.duplicated(["epoch", "ids"]).any()
    # every rank equally often, in the order of one flat sequence
    assert len(plan) % world_size == 0


@given(clip_tables, st.integers(1, 4))
@settings(max_examples=30)
def test_the_sequence_does_not_depend_on_the_world_size_or_the_row_order(clips, world_size):
    try:
        alone = compiled(clips, epochs=2, world_size=1)
        dealt = compiled(clips.sample(frac=1, random_state=1), epochs=2, world_size=world_size)
    except ConfigError:
        return
    columns = ["epoch", "bucket", "ids"]
    pd.testing.assert_frame_equal(alone[columns].head(len(dealt)), dealt[columns])
    assert len(alone) - len(dealt) == len(alone) % world_size
    assert alone.attrs["hash"] == dealt.attrs["hash"]


@given(clip_tables, st.integers(1, 5), st.data())
@settings(max_examples=40)
def test_a_run_resumed_anywhere_on_other_ranks_sees_what_an_uninterrupted_one_sees(
    clips, first_ranks, data
):
    try:
        plan = compiled(clips, epochs=2, world_size=first_ranks)
    except ConfigError:
        return
    whole = compiled(clips, epochs=2, world_size=1)
    done = data.draw(st.integers(0, len(plan) // first_ranks)) * first_ranks
    ranks = data.draw(st.integers(1, 5))
    # step s on rank r reads position done + s * ranks + r, as the training loop does
    steps = (len(plan) - done) // ranks
    positions = [done + s * ranks + r for s in range(steps) for r in range(ranks)]
    before, after = whole["ids"].iloc[:done], whole["ids"].iloc[positions]
    assert before.tolist() + after.tolist() == whole["ids"].iloc[: done + len(positions)].tolist()
    assert plan["ids"].tolist() == whole["ids"].iloc[: len(plan)].tolist()


@given(clip_tables, st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=40)
def test_without_drop_last_every_placed_clip_is_trained_once_an_epoch(clips, epochs, seed):
    assignments = [assign_buckets(clips, CONFIG, seed=seed, epoch=e) for e in range(epochs)]
    try:
        plan = compile_plan(assignments, CONFIG, seed=seed, epochs=epochs, drop_last=False)
    except ConfigError:
        return  # no clip has a bucket
    sizes = batch_sizes()
    for row in plan.itertuples():
        bucket = Bucket.parse(row.bucket)
        assert 1 <= len(row.ids) <= sizes[bucket.resolution, bucket.num_frames]
    used = plan.explode("ids")
    for epoch, assignment in enumerate(assignments):
        placed = assignment.loc[assignment["reason"] == "", "id"]
        assert sorted(used.loc[used["epoch"] == epoch, "ids"]) == sorted(placed)
    # at most one batch of a bucket is smaller
    small = plan[[len(i) < sizes[b.resolution, b.num_frames] for i, b in _entries(plan)]]
    assert not small.duplicated(["epoch", "bucket"]).any()


def _entries(plan):
    return zip(plan["ids"], map(Bucket.parse, plan["bucket"]), strict=True)


def test_a_clip_that_comes_later_leaves_the_order_of_the_others_alone():
    config = {"32px": {8: (1.0, 1)}}
    orders = []
    for count in (30, 31):
        assignment = assign_buckets(square_clips(count), config, seed=0)
        batches = form_batches(assignment, parse_bucket_config(config), seed=0, epoch=0)
        rows, _ = batches.rows(np.arange(len(batches)))
        orders.append([name for name in assignment["id"].iloc[rows] if name != "c030"])
    assert orders[0] == orders[1]


def test_batches_of_one_epoch_are_cut_from_the_cells():
    config = {"32px": {8: (1.0, 4)}, "24px": {8: (1.0, 2)}}
    clips = square_clips(10).assign(
        height=[32] * 6 + [24] * 3 + [8], width=[32] * 6 + [24] * 3 + [8]
    )
    for drop_last, sizes in ((True, [2, 4]), (False, [2, 1, 4, 2])):
        batches = form_batches(
            assign_buckets(clips, config, seed=0),
            parse_bucket_config(config),
            seed=0,
            epoch=0,
            drop_last=drop_last,
        )
        assert batches.sizes.tolist() == sizes
        rows, offsets = batches.rows(np.arange(len(batches))[::-1])
        assert offsets.tolist() == [0, *np.cumsum(sizes[::-1])]
        assert set(rows[: offsets[-2]].tolist()) <= set(range(9)) - {9}


def test_a_plan_stops_with_the_epoch_that_reaches_the_steps_wanted():
    config = {"32px": {8: (1.0, 4)}}
    assignment = assign_buckets(square_clips(12), config, seed=0)  # 3 batches an epoch
    whole = compile_plan([assignment], config, seed=0, epochs=10)
    part = compile_plan([assignment], config, seed=0, epochs=10, max_batches=7)
    assert len(part) == 9
    assert part["ids"].tolist() == whole["ids"].iloc[:9].tolist()
    assert (part.attrs["epochs"], part.attrs["compiled_epochs"]) == (10, 3)


def square_clips(count: int) -> pd.DataFrame:
    ids = [f"c{i:03d}" for i in range(count)]
    return pd.DataFrame({"id": ids, "num_frames": 8, "height": 32, "width": 32})


def test_clips_beyond_the_last_full_batch_take_turns():
    config = {"32px": {8: (1.0, 4)}}
    assignment = assign_buckets(square_clips(7), config, seed=0)
    plan = compile_plan([assignment], config, seed=0, epochs=12)
    assert len(plan) == 12  # one batch of 4 of 7 clips an epoch
    seen = set(plan["ids"].explode())
    assert len(seen) == 7
    assert len({tuple(ids) for ids in plan["ids"]}) > 6  # another shuffle each epoch


def test_another_seed_is_another_order():
    config = {"32px": {8: (1.0, 4)}}
    assignment = assign_buckets(square_clips(40), config, seed=0)
    first, second = (compile_plan([assignment], config, seed=s, epochs=1) for s in (0, 1))
    assert first["ids"].tolist() != second["ids"].tolist()
    assert sorted(first["ids"].explode()) == sorted(second["ids"].explode())
    assert first.attrs["hash"] != second.attrs["hash"]


def test_no_full_batch_says_how_many_clips_there_are_and_what_to_do():
    config = {"32px": {8: (1.0, 64)}}
    assignment = assign_buckets(square_clips(12), config, seed=0)
    message = (
        r"batch_size 64 but the largest bucket 32px\|8\|1\.00 holds 12 clips; lower batch_size"
    )
    with pytest.raises(ConfigError, match=message):
        compile_plan([assignment], config, seed=0, epochs=1)


def test_no_fitting_clip_counts_the_reasons():
    config = {"32px": {16: (1.0, 1)}}
    assignment = assign_buckets(square_clips(12), config, seed=0)
    with pytest.raises(ConfigError, match=r"none of 12 clips fits a bucket \(too_short 12\)"):
        compile_plan([assignment], config, seed=0, epochs=1)


def test_fewer_batches_than_ranks_is_refused_with_both_counts():
    config = {"32px": {8: (1.0, 4)}}
    assignment = assign_buckets(square_clips(12), config, seed=0)
    with pytest.raises(ConfigError, match="3 micro batches in 1 epochs are fewer than the 8 ranks"):
        compile_plan([assignment], config, seed=0, epochs=1, world_size=8)


def cell(ratio: str, frames: int = 8) -> Bucket:
    return Bucket("32px", frames, ratio)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # full cells stay, a small neighbour joins
        ({"0.60": 1, "1.00": 4}, {"0.60": "1.00", "1.00": "1.00"}),
        # two small neighbours fill one batch together
        ({"0.60": 2, "1.00": 2}, {"0.60": "0.60", "1.00": "0.60"}),
        # both ends meet in an empty middle
        ({"0.60": 2, "1.67": 2}, {"0.60": "1.00", "1.67": "1.00"}),
        # nobody near enough: a clip moves one ratio, not two
        ({"0.60": 3, "1.67": 4}, {"0.60": None, "1.67": "1.67"}),
        ({"1.00": 3}, {"1.00": None}),
    ],
)
def test_small_cells_join_a_neighbouring_ratio(counts, expected):
    rules = parse_bucket_config({"32px": {8: (1.0, 4)}})
    found = merge_small_cells({cell(k): n for k, n in counts.items()}, rules)
    assert found == {cell(k): v and cell(v) for k, v in expected.items()}


def test_what_no_neighbour_takes_moves_to_the_next_shorter_length():
    rules = parse_bucket_config({"32px": {1: (1.0, 1), 8: (1.0, 4), 16: (1.0, 4)}})
    counts = {cell("1.00", 16): 3, cell("1.00", 8): 1, cell("1.67", 16): 0}
    found = merge_small_cells(counts, rules)
    assert found == {cell("1.00", 16): cell("1.00", 8), cell("1.00", 8): cell("1.00", 8)}


def test_a_video_never_becomes_an_image():
    rules = parse_bucket_config({"32px": {1: (1.0, 1), 8: (1.0, 4)}})
    assert merge_small_cells({cell("1.00"): 3}, rules) == {cell("1.00"): None}


def test_a_length_without_batch_size_takes_no_clips():
    rules = parse_bucket_config({"32px": {8: (0.0, None), 16: (1.0, 4)}})
    assert merge_small_cells({cell("1.00", 16): 3}, rules) == {cell("1.00", 16): None}


def test_a_saved_plan_reads_back_by_position(tmp_path):
    config = {"32px": {8: (1.0, 2)}}
    plan = compile_plan(
        [assign_buckets(square_clips(8), config, seed=0)], config, seed=0, epochs=2, world_size=2
    )
    write_plan(plan, tmp_path / "plan.parquet", frame_interval=1)
    saved = BatchPlan(tmp_path / "plan.parquet")
    assert len(saved) == 8
    assert saved.num_steps(3) == 2
    assert saved.hash == plan.attrs["hash"]
    assert saved.metadata["frame_interval"] == 1
    for position in range(8):
        epoch, bucket, ids = saved[position]
        assert (epoch, str(bucket), ids) == tuple(plan.loc[position, ["epoch", "bucket", "ids"]])
    items = saved.items()
    assert items["id"].tolist() == [f"c{i:03d}" for i in range(8)]
    assert set(items["bucket"]) == {"32px|8|1.00"}
    with pytest.raises(IndexError):
        saved[8]


def test_equal_plans_are_equal_bytes(tmp_path):
    config = {"32px": {8: (0.5, 2)}}  # another draw each epoch
    for name in ("a", "b"):
        assignments = [assign_buckets(square_clips(20), config, seed=0, epoch=e) for e in range(3)]
        plan = compile_plan(assignments, config, seed=0, epochs=3)
        write_plan(plan, tmp_path / f"{name}.parquet", seed=0)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_file_that_is_no_plan_names_the_rule(tmp_path):
    path = tmp_path / "plan.parquet"
    with pytest.raises(TableError, match="assign_buckets makes it"):
        BatchPlan(path)
    pd.DataFrame({"x": np.arange(3)}).to_parquet(path)
    with pytest.raises(TableError, match="not a batch plan"):
        BatchPlan(path)
