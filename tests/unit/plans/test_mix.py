import numpy as np
import pandas as pd
import pytest

from opensora.cli.main import EXIT_USER, main
from opensora.core.errors import ConfigError, TableError
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.figures import summary_table
from opensora.plans.ledger import stage_ledger
from opensora.plans.mix import SourceMix, shares_of
from opensora.plans.stage_plan import plan_training

BUCKETS = {"240p": {16: (1.0, 7), 32: (0.5, 3)}, "144p": {1: (1.0, 10), 16: (1.0, 5)}}
SIZES = {7, 3, 10, 5}
NAMES = ["web", "own", "rare"]


def manifest(rows: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"c{k:04d}" for k in range(rows)],
            "num_frames": rng.choice([1, 20, 40], rows),
            "height": rng.choice([144, 256], rows),
            "width": rng.choice([256, 320, 464], rows),
            "source_name": rng.choice(NAMES, rows, p=[0.7, 0.2, 0.1]),
            "split": "train",
            "start": 0.0,
            "end": 1.0,
        }
    )


def made_of(clips: pd.DataFrame, rates: dict, **fields):
    config = {"bucket_config": BUCKETS, "epochs": 4, "seed": 3, **fields}
    return plan_training(clips, config, rates=rates)


def counts_of(clips: pd.DataFrame, plan: pd.DataFrame, epoch: int) -> pd.Series:
    source = dict(zip(clips["id"], clips["source_name"], strict=True))
    ids = [source[name] for batch in plan["ids"][plan["epoch"] == epoch] for name in batch]
    return pd.Series(ids).value_counts().reindex(NAMES, fill_value=0)


@pytest.mark.parametrize("seed", range(10))
def test_over_each_epoch_sources_count_as_their_weights_within_one_clip(seed):
    """Ten random weightings; random buckets; every batch full."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 5, len(NAMES))
    clips = manifest(seed=seed)
    rates = {name: {"weight": float(w)} for name, w in zip(NAMES, weights, strict=True)}
    plan = made_of(clips, rates).plan
    for epoch in range(4):
        counts = counts_of(clips, plan, epoch)
        assert counts.sum() > 580
        assert (counts - counts.sum() * weights / weights.sum()).abs().max() < 1
    assert {len(batch) for batch in plan["ids"]} <= SIZES


def test_over_many_epochs_too_they_are_within_few_clips():
    """What rounding takes from a source in one epoch it gets in another."""
    clips = manifest(14).assign(num_frames=20, height=144, width=256)
    clips["source_name"] = ["web"] * 9 + ["own"] * 3 + ["rare"] * 2
    weights = np.array([3.0, 1.0, 1.0])
    rates = {name: {"weight": w} for name, w in zip(NAMES, weights, strict=True)}
    plan = made_of(clips, rates, bucket_config={"144p": {16: (1.0, 2)}}, epochs=30).plan
    sums = pd.Series(0.0, NAMES)
    for epoch in range(30):
        counts = counts_of(clips, plan, epoch)
        assert (counts - counts.sum() * weights / 5).abs().max() < 1
        sums += counts - counts.sum() * weights / 5
        assert sums.abs().max() < 2


@pytest.mark.parametrize("drop_last", [True, False])
def test_sources_that_share_no_bucket_hold_their_shares_too(drop_last):
    """Images and videos: the last batch of a bucket may be smaller."""
    clips = manifest().query("source_name != 'rare'")
    clips = clips.assign(num_frames=np.where(clips["source_name"] == "web", 20, 1))
    rates = {"web": {"weight": 1.0}, "own": {"weight": 2.0}}
    plan = made_of(clips, rates, drop_last=drop_last).plan
    for epoch in range(4):
        counts = counts_of(clips, plan, epoch)
        assert abs(counts["own"] - counts.sum() * 2 / 3) < 1
    smaller = [batch for batch in plan["ids"] if len(batch) not in SIZES]
    assert len(smaller) <= 4 * 6


def test_clips_are_seen_equally_often_over_the_epochs():
    clips = manifest().assign(num_frames=20, height=144, width=256)
    rates = {"web": {"weight": 1.0}, "own": {"weight": 1.0}, "rare": {"weight": 1.0}}
    plan = made_of(clips, rates, bucket_config={"144p": {16: (1.0, 5)}}).plan
    times = pd.Series([name for batch in plan["ids"] for name in batch]).value_counts()
    times = times.reindex(clips["id"], fill_value=0)
    for _, part in times.groupby(clips["source_name"].to_numpy()):
        assert part.max() - part.min() <= 1


def test_views_of_one_clip_lie_apart():
    """A clip that is seen three times an epoch is in a batch of five at most once."""
    clips = manifest(200).assign(num_frames=20, height=144, width=256)
    rates = {"web": {"repeat": 1.0}, "own": {"repeat": 3.0}, "rare": {"repeat": 1.0}}
    plan = made_of(clips, rates, bucket_config={"144p": {16: (1.0, 5)}}).plan
    assert all(len(set(batch)) == len(batch) for batch in plan["ids"])


def test_repeats_say_how_often_a_clip_is_seen_in_an_epoch():
    clips = manifest().assign(num_frames=20, height=144, width=256)
    rates = {"web": {"repeat": 1.0}, "own": {"repeat": 2.5}, "rare": {}}
    plan = made_of(clips, rates, bucket_config={"144p": {16: (1.0, 1)}}, epochs=2).plan
    have = clips["source_name"].value_counts()
    counts = counts_of(clips, plan, 0)
    wanted = [have["web"], 2.5 * have["own"], have["rare"]]
    assert np.abs(counts.to_numpy() - wanted).max() < 1


def test_no_source_has_more_than_its_largest_share():
    shares = shares_of(np.array([900, 50, 50]), [{"max_share": 0.5}, {}, {"repeat": 3.0}])
    assert shares.tolist() == [200, 50, 150]
    shares = shares_of(np.array([900, 50]), [{"max_share": 0.5}, {"max_share": 0.5}])
    assert shares.tolist() == [50, 50]
    shares = shares_of(np.array([10, 50]), [{"max_share": 0.5}, {}])
    assert shares.tolist() == [10, 50]


def test_a_source_without_clips_leaves_its_part_to_the_others(caplog):
    clips = manifest().query("source_name != 'rare'")
    rates = {name: {"weight": 1.0} for name in NAMES}
    counts = counts_of(clips, made_of(clips, rates).plan, 0)
    assert abs(counts["web"] - counts["own"]) <= 1
    assert "rare has no clip to train on" in caplog.text


def test_the_order_of_the_table_decides_nothing():
    clips = manifest()
    rates = {name: {"weight": w} for name, w in zip(NAMES, (1.0, 2.0, 0.5), strict=True)}
    shuffled = clips.sample(frac=1, random_state=1).reset_index(drop=True)
    plans = [made_of(table, rates).plan for table in (clips, clips, shuffled)]
    assert plans[0].attrs["hash"] == plans[1].attrs["hash"]
    first, _, last = [[sorted(batch) for batch in plan["ids"]] for plan in plans]
    assert sorted(first) == sorted(last)


def test_without_rates_the_plan_is_that_of_before():
    clips = manifest()
    plain = plan_training(clips.drop(columns="source_name"), {"bucket_config": BUCKETS})
    named = plan_training(clips, {"bucket_config": BUCKETS})
    assert plain.plan.attrs == named.plan.attrs
    assert "sources" not in plain.summary


def test_summary_ledger_and_table_tell_the_sources(tmp_path):
    clips = manifest()
    rates = {name: {"weight": w} for name, w in zip(NAMES, (1.0, 2.0, 1.0), strict=True)}
    made = made_of(clips, rates)
    sources = made.summary["sources"]
    assert sources["own"]["share"] == pytest.approx(0.5, abs=0.01)
    assert sources["own"]["first_epoch"] == counts_of(clips, made.plan, 0)["own"]
    assert sum(sources["own"]["buckets"].values()) == sources["own"]["first_epoch"]
    samples = sum(row["samples"] for row in made.summary["buckets"].values())
    assert samples == sum(row["first_epoch"] for row in sources.values())
    assert "beyond_source_share" in made.summary["dropped"]
    text = summary_table(made.summary)
    assert "weight 2" in text
    assert "240p|16" in text
    write_plan(made.plan, tmp_path / "plan.parquet", **made.settings)
    plan = BatchPlan(tmp_path / "plan.parquet")
    nothing = pd.DataFrame({"id": [], "reason": []}, dtype=str)
    ledger = stage_ledger(clips, made.left_out(), plan, plan, nothing)
    assert {name: row["samples"] for name, row in ledger["sources"].items()} == {
        name: row["samples"] for name, row in sources.items()
    }


def test_what_no_epoch_has_was_beyond_its_source_share():
    clips = manifest().assign(num_frames=20, height=144, width=256)
    rates = {"web": {"max_share": 0.1}, "own": {}, "rare": {}}
    left = made_of(clips, rates, epochs=1).left_out()
    assert set(left["reason"]) == {"beyond_source_share"}


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"web": {"weight": 1.0}, "own": {"weight": 1.0}}, "clips of 'rare' have no rate"),
        ({"web": {}, "own": {}, "rere": {}}, "did you mean 'rere'"),
    ],
)
def test_sources_and_rates_must_fit(rates, words):
    with pytest.raises(ConfigError, match=words):
        SourceMix(manifest()["source_name"].to_numpy(), rates)


def test_a_manifest_that_fills_no_batch_says_so():
    rates = {name: {"weight": 1.0} for name in NAMES}
    with pytest.raises(ConfigError, match="fits a bucket"):
        made_of(manifest(30).assign(height=8, width=8), rates)


def test_rates_need_a_manifest_that_names_sources():
    with pytest.raises(TableError, match="no column 'source_name'"):
        made_of(manifest().drop(columns="source_name"), {"web": {"weight": 1.0}})


def test_the_command_takes_rates_and_says_what_each_source_has(tmp_path, capsys):
    manifest(60).assign(path="x.mp4", text="a", fps=8.0).to_csv(tmp_path / "m.csv", index=False)
    config = tmp_path / "config.py"
    config.write_text(f"bucket_config = {BUCKETS!r}\nepochs = 2\n")
    words = ["assign-buckets", str(config), "--data-path", str(tmp_path / "m.csv")]
    words += ["--plan", str(tmp_path / "plan.parquet")]
    rates = '{"web": {"weight": 1}, "own": {"weight": 1}, "rare": {"weight": 2}}'
    assert main([*words, "--sources", rates]) == 0
    assert "weight 2" in capsys.readouterr().out
    plan = BatchPlan(tmp_path / "plan.parquet")
    source = manifest(60).set_index("id")["source_name"]
    ids = [name for place in range(len(plan)) for name in plan[place].ids]
    assert abs((source[ids] == "rare").sum() - len(ids) / 2) < 2  # of two epochs
    assert main([*words, "--sources", '{"web": {"weight": 1}}']) == EXIT_USER
    assert "clips of 'own' have no rate" in capsys.readouterr().err
