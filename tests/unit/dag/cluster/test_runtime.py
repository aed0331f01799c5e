"""Time limits follow the work: more of it, more time; more to compute with, less."""

import json
from pathlib import Path
from typing import Any

import pytest

from opensora.dag.cluster.runtime import LEAST_MIN, Power
from opensora.dag.listing import keep_listing
from tests.unit.dag.test_resources import JOB, requests

FIELDS = {"model": {"type": "STDiT2-XL/2"}, "num_frames": 16, "image_size": (256, 256)}
GPU = {"gpus": 1}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run begins; its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a box\n" * 100)
    return tmp_path / "results/x"


def listed(run: Path, size: int) -> None:
    keep_listing(run / "listing/files.json", ["videos"], ["aa"], size)


def bucketed(run: Path, clips: int) -> None:
    """So many clips of 16 frames of 256 x 256, twice trained."""
    row = {"samples": clips, "num_frames": 16, "height": 256, "width": 256}
    totals = {"clips": clips, "samples": 2 * clips, "tokens": 2 * clips * 16 * 256}
    folder = run / "buckets/one"
    folder.mkdir(parents=True, exist_ok=True)
    summary = {"totals": totals, "buckets": {"256|16|1.0": row}, "token_size": [1, 16, 16]}
    (folder / "summary.json").write_text(json.dumps(summary))


def minutes(rule: str, *, attempt: int = 1, **changes: Any) -> int:
    return requests(**{"num_shards": 1, **changes}).runtime(rule)(JOB, attempt=attempt)


@pytest.mark.parametrize("rule", ["ingest_videos", "detect_scenes", "split_clips", "score_clips"])
def test_curation_follows_the_bytes_of_the_largest_shard(rule: str, run: Path) -> None:
    usual = minutes(rule)
    listed(run, 1_000_000)
    assert minutes(rule) == LEAST_MIN < usual
    listed(run, 400_000_000_000)
    long = minutes(rule)
    listed(run, 800_000_000_000)
    assert minutes(rule) == pytest.approx(2 * long, rel=0.05)
    assert long > LEAST_MIN


def test_a_captioner_with_a_network_takes_longer_on_a_cpu(run: Path) -> None:
    listed(run, 100_000_000_000)
    captions = {"captioner": "transformers", "model": "a/b"}
    with_gpu = minutes("caption_clips", captions=captions, resources={"caption_clips": GPU})
    assert minutes("caption_clips") < with_gpu < minutes("caption_clips", captions=captions)


@pytest.mark.parametrize("rule", ["encode_videos", "encode_captions", "score_captions"])
def test_encoding_follows_clips_shards_and_device(rule: str, run: Path) -> None:
    names = {"vae": "a/vae", "clip": "a/clip", "text_encoder": "a/t5"}
    models = {name: {"from_pretrained": place} for name, place in names.items()}
    bucketed(run, 1_000_000)
    whole = minutes(rule, models=models)
    assert minutes(rule, models=models, num_shards=10) == pytest.approx(whole / 10, rel=0.05)
    assert minutes(rule, models=models, resources={rule: GPU}) < whole / 50
    bucketed(run, 10)
    assert minutes(rule, models=models, num_shards=10) == LEAST_MIN


def test_training_follows_tokens_and_ranks(run: Path) -> None:
    def of(**fields: Any) -> int:
        stage = {"name": "one", "config": "a.py", **fields}
        return minutes("train", stages=[stage])

    usual = of(gpus=8)
    bucketed(run, 100_000)
    one = of(gpus=1)
    assert of(gpus=8) == pytest.approx(one / 8, rel=0.1)
    assert of(nodes=2, gpus=8) < of(gpus=8) < usual
    assert of(gpus=1, online=True) > one
    bucketed(run, 200_000)
    assert of(gpus=1) == pytest.approx(2 * one, rel=0.05)


def test_sampling_follows_prompts_and_steps(run: Path) -> None:
    sample = {"config": "s.py", "prompts": "prompts.txt"}
    once = minutes("sample", sample=sample)
    twice = minutes("sample", sample={**sample, "num_samples": 20})
    assert twice == pytest.approx(20 * once, rel=0.1)
    assert minutes("sample", sample=sample, resources={"sample": GPU}) < once
    assert minutes("sample", sample={**sample, "num_samples": 20, "num_jobs": 20}) == once


def test_what_ends_at_its_limit_gets_more_but_not_training(run: Path) -> None:
    bucketed(run, 1_000_000)
    first = minutes("encode_videos")
    assert [minutes("encode_videos", attempt=n) for n in (2, 3, 9)] == [2 * first, *[4 * first] * 2]
    assert minutes("train", attempt=3) == minutes("train")
    given = {"resources": {"encode_videos": {"runtime": "2h"}}}
    assert minutes("encode_videos", attempt=3, **given) == 120


def test_limits_hold_for_what_is_computed(run: Path) -> None:
    bucketed(run, 10**9)
    assert minutes("encode_videos", resources={"longest_job": "24h"}) == 1440


def test_a_table_that_is_not_whole_is_as_none(run: Path) -> None:
    usual = minutes("train")
    bucketed(run, 1_000_000)
    (run / "buckets/one/summary.json").write_text("{")
    assert minutes("train") == usual


def test_power_is_that_of_gpus_where_there_are_some() -> None:
    assert Power(threads=64, gpus=1).seconds(1e15) < Power(threads=64, gpus=0).seconds(1e15)
