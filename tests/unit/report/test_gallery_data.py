"""All samples as data: none outside the run, pairs over checkpoints, commands that shells take."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from opensora.core.errors import VideoError
from opensora.core.guard import Guard
from opensora.core.io import write_json
from opensora.core.seal import sealed
from opensora.media.encode import write_video
from opensora.report.collect import collect
from opensora.report.gallery_data import gallery_data, replay_command, sample_keys
from opensora.report.posters import LONGER_SIDE, make_poster
from tests.unit.report.conftest import HOSTILE


def record_of(run_dir: Path, k: int, **fields: object) -> None:
    record = {"id": f"s{k}", "k": k, "noise_seed": 7, "checkpoint": "ema", "fingerprint": "f"}
    write_json(run_dir / "samples/stage1" / f"{k}.json", sealed({**record, **fields}))


def shown(*stages):
    return gallery_data(stages, lambda file: file.name, lambda file, frames: (f"{frames}.jpg", ""))


def test_a_sample_says_what_was_asked_measured_and_seen(run_dir):
    record_of(run_dir, 0)
    data = shown(*collect(run_dir).stages)
    first, second = data["samples"]
    assert (first["prompt"], first["media"], first["poster"]) == (
        *("a red circle moving left", "0.mp4"),
        "2.jpg",
    )
    assert first["tags"] == [
        *("16x16", "video", "heldout", "colour right", "shape wrong", "direction wrong")
    ]
    assert first["values"] == {"prompt_following": 1 / 3}
    assert first["own"] == {"k": 0, "noise_seed": 7, "fingerprint": "f"}
    assert data["settings"][first["setting"]] == {"checkpoint": "ema"}
    assert (second["prompt"], second["replay"], second["own"]) == (HOSTILE, "", {})
    assert data["points"] == [{"name": "stage1", "stage": "stage1", "step": 8}]


def test_equal_prompts_seeds_and_numbers_are_pairs_over_checkpoints(run_dir):
    stage = collect(run_dir).stages[0]
    milestone = replace(stage, name="stage1@4", samples=stage.samples[::-1])
    data = shown(milestone, stage)
    pairs = {(s["point"], s["id"]): s["pair"] for s in data["samples"]}
    assert pairs[0, "s0"] == pairs[1, "s0"] != pairs[0, "s1"] == pairs[1, "s1"]
    assert sample_keys(data)["stage1@4"]["s1"] == (HOSTILE, pairs[0, "s1"])
    assert data["points"][0] == {"name": "stage1@4", "stage": "stage1", "step": 4}


def test_what_lies_outside_the_run_or_is_gone_is_named_and_not_shown(run_dir, tmp_path):
    stage = collect(run_dir).stages[0]
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    write_json(tmp_path / "secret.json", {"checkpoint": "theirs"})
    table = stage.samples.assign(path=["../../../../secret.png", "gone.mp4"])
    first, second = shown(replace(stage, samples=table))["samples"]
    assert (first["media"], first["absent"]) == ("", "not shown: outside the run")
    assert (first["replay"], second["absent"]) == ("", "file not found")


def test_a_changed_record_counts_as_none(run_dir):
    record_of(run_dir, 0)
    file = run_dir / "samples/stage1/0.json"
    file.write_text(file.read_text().replace('"ema"', '"other"'))
    assert shown(*collect(run_dir).stages)["samples"][0]["replay"] == ""


def test_a_command_of_any_name_is_one_line_of_three_words():
    path = "results/it's $(canary) here/a b.json"
    assert shlex.split(replay_command(Path(path))) == ["opensora", "sample", "--replay", path]
    assert replay_command(Path("a\nb.json")) == ""


def test_a_poster_is_the_middle_frame_made_once(tmp_path):
    frames = np.zeros((5, 64, 2 * LONGER_SIDE, 3), np.uint8)
    frames[2] = 255
    write_video(tmp_path / "a.mp4", frames, 8)
    with Guard("report") as guard:
        name = make_poster(tmp_path / "a.mp4", 5, tmp_path / "posters", guard)
        made = (tmp_path / "posters" / str(name)).stat().st_mtime_ns
        assert make_poster(tmp_path / "a.mp4", 5, tmp_path / "posters", guard) == name
        (tmp_path / "b.mp4").write_bytes(b"no video")
        fault = make_poster(tmp_path / "b.mp4", 5, tmp_path / "posters", guard)
    poster = Image.open(tmp_path / "posters" / str(name))
    assert (tmp_path / "posters" / str(name)).stat().st_mtime_ns == made
    assert poster.size == (LONGER_SIDE, 32)
    assert np.asarray(poster).min() > 200
    assert isinstance(fault, VideoError)
