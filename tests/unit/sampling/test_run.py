"""Whole sampling runs with tiny real parts."""

import numpy as np
import pytest
import torch
from PIL import Image

from opensora.core.errors import CheckpointError, ConfigError, VideoError
from opensora.core.io import sha256_file
from opensora.media.decode import read_frames
from opensora.media.encode import write_video
from opensora.media.probe import probe
from opensora.sampling.batch import sample_batch
from opensora.sampling.finished import check_sample
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.prompts import Prompt, prompts_of, requests
from opensora.sampling.records import is_sampled
from opensora.sampling.run import sample_prompts
from opensora.sampling.settings import SamplingSettings
from opensora.tables.columns import SAMPLES
from opensora.tables.io import read_table
from opensora.tables.prompts import reference_picture

BT709 = (0.2126, 0.7152, 0.0722)  # brightness of red, green and blue


def settings_of(config, **changes):
    return SamplingSettings.from_config({**config, **changes})


def sample(pipeline, config, texts, **changes):
    """Sample prompts without conditions."""
    settings = settings_of(config, **changes)
    return sample_prompts(pipeline, [Prompt(text) for text in texts], settings, config)


@pytest.fixture
def pipeline(config):
    return load_pipeline(config, settings_of(config), "cpu")


@pytest.fixture
def image(tmp_path):
    """A reference of random colours."""
    path = tmp_path / "noise.png"
    Image.effect_noise((12, 16), 90).convert("RGB").save(path)
    return path


@pytest.fixture
def conditioned(config, image):
    """A config of one prompt that keeps an image as its first frame."""
    return {**config, "prompt": ["a"], "reference_path": [str(image)], "mask_strategy": ["0"]}


def test_a_run_writes_videos_records_and_the_table(pipeline, config, tmp_path, read_record):
    table = sample(pipeline, config, config["prompt"], num_samples=2, batch_size=3, display_size=32)
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
        assert record["checkpoint_sha256"] == sha256_file(config["model"]["from_pretrained"])
        assert record["scheduler"]["shift"] == 3.0
        assert record["seed"] == 42
        assert record["clean_prompts"] == [row["prompt"]]
        assert (record["references"], record["mask_strategy"], record["loop"]) == ([], "", 1)
        assert record["config"]["fps"] == 8
    assert sorted(path.suffix for path in table.parent.iterdir()) == (
        [".csv"] + [".json"] * 4 + [".mp4"] * 4
    )


def test_the_file_shows_the_sampled_frames(pipeline, config):
    table = sample(pipeline, config, ["a red circle"], display_size=120)
    path = table.parent / read_table(table)["path"][0]
    frames = sample_batch(pipeline, requests([Prompt("a red circle")], 1), settings_of(config))[0]
    shown = read_frames(path, range(3))[:, 5::10, 5::10]  # centres of the enlarged pixels
    assert np.abs(shown.astype(int) - frames).mean() < 12  # colour is stored at half resolution


def test_a_prompt_that_is_longer_than_the_encoder_reads_is_told(pipeline, config, caplog):
    length = pipeline.text_encoder.model_max_length
    sample(pipeline, config, ["red circle"])
    assert not [message for message in caplog.messages if "cut after" in message]
    sample(pipeline, config, ["red circle", "a" * (length + 4)])
    assert f"text_encoder 1 of 2 prompts are cut after {length} tokens and lose 5 tokens" in (
        caplog.messages
    )


def test_a_second_run_keeps_finished_samples_and_makes_the_rest(pipeline, config, monkeypatch):
    table = sample(pipeline, config, config["prompt"])
    first = read_table(table)
    files = [table.parent / name for name in first["path"]]
    files[1].unlink()
    before = files[0].stat().st_mtime_ns
    made = count_batches(monkeypatch)
    sample(pipeline, config, config["prompt"])
    assert made == [config["prompt"][1]]
    assert files[0].stat().st_mtime_ns == before
    assert files[1].is_file()
    assert read_table(table).equals(first)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"fps": 4},
        {"frame_interval": 2},
        {"display_size": 64},
        {"image_size": [16, 16]},
        {"loop": 2, "condition_frame_length": 1},
    ],
)
def test_changed_settings_make_samples_anew(pipeline, config, change):
    one = requests([Prompt("a")], 1)[0]
    sample(pipeline, config, ["a"])
    assert is_sampled(one, pipeline, settings_of(config))
    assert is_sampled(one, pipeline, settings_of(config, batch_size=7, num_samples=9))
    assert not is_sampled(one, pipeline, settings_of(config, **change))


def test_a_damaged_record_makes_the_sample_anew(pipeline, config, tmp_path):
    settings, one = settings_of(config), requests([Prompt("a")], 1)[0]
    sample(pipeline, config, ["a"])
    next((tmp_path / "samples").glob("*.json")).write_text("{")
    assert not is_sampled(one, pipeline, settings)
    sample(pipeline, config, ["a"])
    assert is_sampled(one, pipeline, settings)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-9] + bytes([content[-9] ^ 4]) + content[-8:],
    ],
    ids=["zero bytes", "cut", "one bit"],
)
@pytest.mark.parametrize("what", ["file", "record"])
def test_a_damaged_sample_is_made_anew_and_the_others_stay(
    pipeline, config, monkeypatch, damage, what
):
    table = sample(pipeline, config, config["prompt"])
    files = [table.parent / name for name in read_table(table)["path"]]
    suffix = ".mp4" if what == "file" else ".json"
    whole = {path: path.read_bytes() for path in table.parent.iterdir()}
    hurt = files[0].with_suffix(suffix)
    hurt.write_bytes(damage(whole[hurt]))
    made = count_batches(monkeypatch)
    sample(pipeline, config, config["prompt"])
    assert made == [config["prompt"][0]]
    assert {path: path.read_bytes() for path in table.parent.iterdir()} == whole


def test_a_sample_that_is_not_what_was_sampled_is_told_from_one_that_is(pipeline, config):
    table = sample(pipeline, config, ["a"])
    (row,) = read_table(table).to_dict("records")
    path = table.parent / row["path"]
    check_sample(row, path)
    for change in ({"prompt": "b"}, {"num_frames": row["num_frames"] + 1}, {"fps": 9.5}):
        with pytest.raises(VideoError, match=rf"{next(iter(change))} is .* in the table and"):
            check_sample({**row, **change}, path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(VideoError, match="do not fit together; run sample again"):
        check_sample(row, path)
    path.with_suffix(".json").unlink()  # of samples of others nothing is known
    check_sample(row, path)


def test_one_frame_makes_an_image(pipeline, config):
    table = sample(pipeline, config, ["a"], num_frames=1)
    row = read_table(table).iloc[0]
    assert row["path"].endswith(".png")
    assert probe(table.parent / row["path"]).kind == "image"


def test_numbers_that_are_not_finite_name_the_checkpoint(pipeline, config):
    with torch.no_grad():
        pipeline.model.final_layer.linear.bias.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        sample(pipeline, config, ["a"])


def test_a_reference_is_kept_and_recorded(pipeline, conditioned, image, read_record):
    settings = settings_of(conditioned)
    prompts = prompts_of(conditioned, settings)
    table = sample_prompts(pipeline, prompts, settings, conditioned)
    row = read_table(table).iloc[0]
    record = read_record(table.parent / f"{row['id']}.json")
    assert record["references"] == [{"name": str(image), "sha256": sha256_file(image)}]
    assert record["mask_strategy"] == "0,0,0,0,1,0"
    first = np.array(Image.open(table.parent / reference_picture(sha256_file(image))))
    assert np.array_equal(first, np.array(Image.open(image)))  # it has the size of the samples
    # the first frame is the image as the VAE shows it, whatever the prompt
    pixels = torch.from_numpy(np.array(Image.open(image))).permute(2, 0, 1)[None, :, None]
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels / 127.5 - 1, posterior="mean")
        shown = pipeline.vae.decode(latents)[0, :, 0]
    kept = sample_batch(
        pipeline, requests(prompts, 1), settings, {record["references"][0]["sha256"]: latents[0]}
    )[0]
    levels = ((shown.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    assert np.abs(kept[0] - levels).max() <= 1
    stored = read_frames(table.parent / row["path"], [0])[0]
    # brightness alone: colour is stored at half resolution, and here each pixel has its own
    assert np.abs((stored.astype(float) - kept[0]) @ BT709).mean() < 6


def test_another_reference_or_strategy_makes_another_sample(pipeline, conditioned, image):
    settings = settings_of(conditioned)
    first = requests(prompts_of(conditioned, settings), 1)[0]
    sample_prompts(pipeline, [first.prompt], settings)
    assert is_sampled(first, pipeline, settings)
    moved = prompts_of({**conditioned, "mask_strategy": ["0,0,0,1"]}, settings)
    assert not is_sampled(requests(moved, 1)[0], pipeline, settings)
    Image.new("RGB", (12, 16)).save(image)  # other content under the same name
    changed = prompts_of(conditioned, settings)
    assert not is_sampled(requests(changed, 1)[0], pipeline, settings)


def test_rules_are_checked_against_all_references_before_anything_is_sampled(
    pipeline, config, tmp_path, monkeypatch
):
    made = count_batches(monkeypatch)
    write_video(tmp_path / "clip.mp4", np.zeros((5, 16, 12, 3), np.uint8), 8)
    fields = {
        **config,
        "reference_path": [None, str(tmp_path / "clip.mp4")],
        "mask_strategy": [None, "0,0,4,0,3;0,0,3,0,3"],
    }
    settings = settings_of(fields)
    with pytest.raises(ConfigError, match="takes 3 latent frames from 3 on, but reference 0 has 2"):
        sample_prompts(pipeline, prompts_of(fields, settings), settings)
    assert made == []


def test_joined_clips_are_one_file(pipeline, config, read_record):
    table = sample(
        *(pipeline, config, ["a"]), loop=3, condition_frame_length=1, fps=24, frame_interval=3
    )
    row = read_table(table).iloc[0]
    info = probe(table.parent / row["path"])
    assert info.num_frames == row["num_frames"] == 3 + 2 * 2
    assert float(info.fps) == row["fps"] == 8
    record = read_record(table.parent / f"{row['id']}.json")
    assert (record["loop"], record["condition_frame_length"]) == (3, 1)
    assert record["condition_fps"] == 8  # training here tells the rate of the frames in use


def test_a_bucket_size_gives_the_pixels_of_its_whole_latents(config, read_record):
    changes = {"image_size": [117, 312], "num_frames": 1}
    table = sample(
        load_pipeline(config, settings_of(config, **changes), "cpu"), config, ["a"], **changes
    )
    row = read_table(table).iloc[0]
    assert (row["height"], row["width"]) == (116, 312)
    with Image.open(table.parent / row["path"]) as image:
        assert image.size == (312, 116)


@pytest.mark.parametrize(
    ("name", "scheduler", "words"),
    [
        ("dit", "iddpm", "which DiT can not"),
        ("latte", "iddpm", "which Latte can not"),
        ("stdit", "dpm-solver", "scheduler 'dpm-solver' can not"),
    ],
)
def test_parts_that_can_not_keep_frames_are_named(other_config, image, name, scheduler, words):
    config = other_config(
        *(name,),
        scheduler={"type": scheduler, "num_sampling_steps": 2},
        prompt=["1"],
        reference_path=[str(image)],
        mask_strategy=["0"],
    )
    settings = settings_of(config)
    pipeline = load_pipeline(config, settings, "cpu")
    with pytest.raises(ConfigError, match=words):
        sample_prompts(pipeline, prompts_of(config, settings), settings)


@pytest.mark.parametrize("text", ["10", "cat", "-1", "3.0"])
def test_a_prompt_that_is_no_class_is_named(other_config, text):
    config = other_config("dit")
    settings = settings_of(config)
    pipeline = load_pipeline(config, settings, "cpu")
    with pytest.raises(ConfigError, match=f"{text!r} is not a class.* 0 to 9"):
        sample_prompts(pipeline, [Prompt("3"), Prompt(text)], settings)


def count_batches(monkeypatch):
    """Prompts that are really sampled from now on."""
    made = []

    def watched(pipeline, batch, *others):
        made.extend(dict.fromkeys(request.prompt.text for request in batch))
        return sample_batch(pipeline, batch, *others)

    monkeypatch.setattr("opensora.sampling.run.sample_batch", watched)
    return made
