import json

import pandas as pd
import pytest

from opensora.bench import buckets
from opensora.bench.balance import simulate_stragglers
from opensora.bench.buckets import STAGE_2, synthetic_manifest
from opensora.buckets.bucket import assign_buckets
from opensora.cli.main import main
from opensora.core.errors import OpenSoraError


def test_the_synthetic_manifest_is_seeded_and_realistic():
    clips = synthetic_manifest(5000)
    pd.testing.assert_frame_equal(clips, synthetic_manifest(5000))
    assert not clips.equals(synthetic_manifest(5000, seed=1))
    assert clips["id"].is_unique
    assert clips["id"].iloc[7] == "clip_0000000007_000"
    assert (clips["num_frames"] == 1).mean() == pytest.approx(0.2, abs=0.03)
    assert (clips[["height", "width", "num_frames"]] >= 1).all(axis=None)
    videos = clips.loc[clips["num_frames"] > 1, "num_frames"]
    assert 100 < videos.median() < 145


def test_the_loop_and_the_table_agree_on_a_published_config():
    clips = synthetic_manifest(3000)
    result = buckets.bench_buckets(clips, STAGE_2, frame_interval=3, sample=3000, repeats=1)
    assert result["rows"] == result["loop_rows"] == 3000
    found = assign_buckets(clips, STAGE_2, seed=0, frame_interval=3)
    assert result["placed"] == (found["reason"] == "").mean()
    assert result["ratio"] == pytest.approx(result["rows_per_s"] / result["loop_rows_per_s"])
    assert "with equal results" in buckets.buckets_report(result)


def test_a_difference_between_the_two_is_an_error(monkeypatch):
    monkeypatch.setattr(buckets, "closest_ratio", lambda *_: "1.00")
    with pytest.raises(OpenSoraError, match="one of them is wrong"):
        buckets.bench_buckets(
            synthetic_manifest(500),
            {"144p": {16: (1.0, 1)}},
            frame_interval=1,
            sample=500,
            repeats=1,
        )


def test_balanced_steps_wait_less():
    model = {"type": "STDiT2", "hidden_size": 48, "depth": 1, "num_heads": 4}
    found = simulate_stragglers(
        synthetic_manifest(30_000), STAGE_2, model=model, ranks=8, frame_interval=3
    )
    assert found["cost"]["slowest"] < 1.05 < found["random"]["slowest"]
    assert found["cost"]["steps"] == found["random"]["steps"]
    assert 0 <= found["cost"]["waiting"] < found["random"]["waiting"] < 1


def test_a_plan_is_measured_with_the_command(capsys, tmp_path):
    output = tmp_path / "plan.json"
    words = ["--rows", "20000", "--epochs", "3", "--output", str(output)]
    assert main(["bench", "buckets", *words]) == 0
    assert "bytes a clip and epoch" in capsys.readouterr().out
    found = json.loads(output.read_text())
    assert 30_000 < found["clips"] < 60_000
    assert 4 < found["memory_bytes"] < 25  # ids are shared by only three epochs
    assert main(["bench", "buckets", "--epochs", "0"]) == 2


def test_the_command_prints_and_writes(capsys, tmp_path):
    output = tmp_path / "bench.json"
    words = ["bench", "buckets", "--rows", "2000", "--sample", "50", "--repeats", "1"]
    assert main([*words, "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert "million rows/s" in out.splitlines()[-1]
    assert json.loads(output.read_text())["rows"] == 2000
    assert main(["bench", "buckets", "--rows", "0"]) == 2
    assert (
        "argument --rows: expected a whole number of at least 1, not '0'" in capsys.readouterr().err
    )
