"""Whole sampling runs with tiny real parts."""

import numpy as np
import pytest
import torch

from opensora.core.errors import CheckpointError
from opensora.core.io import sha256_file
from opensora.media.decode import read_frames
from opensora.media.probe import probe
from opensora.sampling.batch import sample_batch, size_conditions
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.prompts import requests
from opensora.sampling.run import is_finished, sample_prompts
from opensora.sampling.settings import SamplingSettings
from opensora.tables.columns import SAMPLES
from opensora.tables.io import read_table


def settings_of(config, **changes):
    return SamplingSettings.from_config({**config, **changes})


@pytest.fixture
def pipeline(config):
    return load_pipeline(config, settings_of(config), "cpu")


def test_a_sample_depends_neither_on_batch_size_nor_on_order(pipeline, config):
    settings = settings_of(config, num_samples=2)
    wanted = requests(["a red circle", "a blue square moves up"], 2)
    together = sample_batch(pipeline, wanted, settings)
    backwards = sample_batch(pipeline, wanted[::-1], settings)[::-1]
    for request, frames, other in zip(wanted, together, backwards, strict=True):
        alone = sample_batch(pipeline, [request], settings)[0]
        # sums in another order may round a level up or down
        assert np.abs(alone.astype(int) - frames).max() <= 1
        assert np.abs(other.astype(int) - frames).max() <= 1
    assert frames.shape == (3, 16, 12, 3)
    assert len({frames.tobytes() for frames in together}) == 4


def test_another_seed_and_another_prompt_give_other_samples(pipeline, config):
    one = requests(["a red circle"], 1)
    first = sample_batch(pipeline, one, settings_of(config))[0]
    again = sample_batch(pipeline, one, settings_of(config))[0]
    other = sample_batch(pipeline, one, settings_of(config, seed=43))[0]
    assert (first == again).all()
    assert (first != other).any()


def test_the_model_is_told_size_and_time(config):
    told = size_conditions(settings_of(config), 2, torch.device("cpu"))
    assert told["ar"].tolist() == pytest.approx([16 / 12] * 2)
    assert told["height"].tolist() == [16, 16]
    assert told["width"].tolist() == [12, 12]
    assert told["fps"].tolist() == [8, 8]
    image = size_conditions(settings_of(config, num_frames=1), 1, torch.device("cpu"))
    assert image["fps"].tolist() == [120]


def test_a_run_writes_videos_records_and_the_table(pipeline, config, tmp_path, read_record):
    settings = settings_of(config, num_samples=2, batch_size=3, display_size=32)
    table = sample_prompts(pipeline, config["prompt"], settings, config)
    assert table == tmp_path / "samples" / "samples.csv"
    rows = read_table(table, SAMPLES)
    assert rows["prompt"].tolist() == [prompt for prompt in config["prompt"] for _ in range(2)]
    assert rows["id"].is_unique
    for row in rows.to_dict("records"):
        info = probe(table.parent / row["path"])
        # 16 x 12 enlarged by 32 // 12 = 2
        assert (info.num_frames, info.height, info.width) == (3, 32, 24)
        assert (row["num_frames"], row["height"], row["width"]) == (3, 16, 12)
        assert float(info.fps) == row["fps"] == 8
        record = read_record(table.parent / f"{row['id']}.json")
        assert record["prompt"] == row["prompt"]
        assert record["checkpoint_sha256"] == sha256_file(config["checkpoint"])
        assert record["scheduler"]["shift"] == 3.0
        assert record["seed"] == 42
        assert record["config"]["fps"] == 8
    assert sorted(path.suffix for path in table.parent.iterdir()) == (
        [".csv"] + [".json"] * 4 + [".mp4"] * 4
    )


def test_the_file_shows_the_sampled_frames(pipeline, config):
    settings = settings_of(config, display_size=120)
    table = sample_prompts(pipeline, ["a red circle"], settings)
    path = table.parent / read_table(table)["path"][0]
    frames = sample_batch(pipeline, requests(["a red circle"], 1), settings)[0]
    shown = read_frames(path, range(3))[:, 5::10, 5::10]  # centres of the enlarged pixels
    assert np.abs(shown.astype(int) - frames).mean() < 12  # colour is stored at half resolution


def test_a_second_run_keeps_finished_samples_and_makes_the_rest(pipeline, config, monkeypatch):
    settings = settings_of(config)
    table = sample_prompts(pipeline, config["prompt"], settings)
    first = read_table(table)
    files = [table.parent / name for name in first["path"]]
    files[1].unlink()
    before = files[0].stat().st_mtime_ns
    made = count_batches(monkeypatch)
    sample_prompts(pipeline, config["prompt"], settings)
    assert made == [config["prompt"][1]]
    assert files[0].stat().st_mtime_ns == before
    assert files[1].is_file()
    assert read_table(table).equals(first)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"fps": 4}, {"display_size": 64}, {"image_size": [16, 16]}]
)
def test_changed_settings_make_samples_anew(pipeline, config, change):
    one = requests(["a"], 1)[0]
    sample_prompts(pipeline, ["a"], settings_of(config))
    assert is_finished(one, pipeline, settings_of(config))
    assert is_finished(one, pipeline, settings_of(config, batch_size=7, num_samples=9))
    assert not is_finished(one, pipeline, settings_of(config, **change))


def test_a_damaged_record_makes_the_sample_anew(pipeline, config, tmp_path):
    settings = settings_of(config)
    sample_prompts(pipeline, ["a"], settings)
    next((tmp_path / "samples").glob("*.json")).write_text("{")
    assert not is_finished(requests(["a"], 1)[0], pipeline, settings)
    sample_prompts(pipeline, ["a"], settings)
    assert is_finished(requests(["a"], 1)[0], pipeline, settings)


def test_one_frame_makes_an_image(pipeline, config):
    table = sample_prompts(pipeline, ["a"], settings_of(config, num_frames=1))
    row = read_table(table).iloc[0]
    assert row["path"].endswith(".png")
    assert probe(table.parent / row["path"]).kind == "image"


def test_numbers_that_are_not_finite_name_the_checkpoint(pipeline, config):
    with torch.no_grad():
        pipeline.model.final_layer.linear.bias.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        sample_prompts(pipeline, ["a"], settings_of(config))


def test_half_precision_gives_nearly_the_same_frames(pipeline, config):
    half = load_pipeline(config, settings_of(config, dtype="bf16"), "cpu")
    wanted = requests(["a"], 1)
    exact, rough = (sample_batch(p, wanted, settings_of(config))[0] for p in (pipeline, half))
    assert np.abs(exact.astype(int) - rough).mean() < 4


@pytest.mark.parametrize("kind", ["iddpm", "dpm-solver"])
def test_models_without_a_variance_sample_with_the_other_schedulers(config, kind):
    fields = {"type": kind, "num_sampling_steps": 2, "cfg_scale": 2.0}
    if kind == "iddpm":
        fields["learn_sigma"] = False
    pipeline = load_pipeline({**config, "scheduler": fields}, settings_of(config), "cpu")
    frames = sample_batch(pipeline, requests(["a"], 1), settings_of(config))
    assert frames[0].shape == (3, 16, 12, 3)


def count_batches(monkeypatch):
    """Prompts that are really sampled from now on."""
    made = []

    def watched(pipeline, batch, settings):
        made.extend(request.prompt for request in batch)
        return sample_batch(pipeline, batch, settings)

    monkeypatch.setattr("opensora.sampling.run.sample_batch", watched)
    return made
