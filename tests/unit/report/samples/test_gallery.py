"""All samples as data: none outside the run, pairs over checkpoints, commands that shells take."""

import io
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from opensora.core.io import write_json
from opensora.core.seal import sealed
from opensora.media.encode import write_video
from opensora.report.collect import StageFolder, collect
from opensora.report.media import Media
from opensora.report.samples.gallery import gallery
from opensora.report.samples.posters import LONGER_SIDE, poster
from opensora.report.samples.records import replay_command
from opensora.tables.prompts import reference_picture
from tests.unit.report.conftest import HOSTILE


def record_of(run_dir: Path, k: int, **fields: object) -> None:
    record = {"id": f"s{k}", "k": k, "noise_seed": 2**62 + 1, "checkpoint": "ema"}
    record |= {"fingerprint": "f"}
    write_json(run_dir / "samples/stage1" / f"{k}.json", sealed({**record, **fields}))


def shown(run_dir: Path, *stages: StageFolder):
    run = collect(run_dir)
    media = Media(run_dir.parent / "page" / "media", "media")
    return gallery(replace(run, stages=[*stages]) if stages else run, media)


def test_a_sample_says_what_was_asked_measured_and_seen(run_dir):
    record_of(run_dir, 0)
    data = shown(run_dir)
    first, second = data["samples"]
    assert (first["prompt"], first["absent"]) == ("a red circle moving left", "")
    for kind, suffix in (("media", ".mp4"), ("poster", ".jpg")):
        assert first[kind].startswith("media/")
        assert first[kind].endswith(suffix)
        assert (run_dir.parent / "page" / first[kind]).is_file()
    assert first["tags"] == [
        *("16x16", "video", "heldout", "colour right", "shape wrong", "direction wrong")
    ]
    assert first["values"] == {"prompt_following": 1 / 3}
    assert first["own"] == {"k": 0, "noise_seed": "4611686018427387905", "fingerprint": "f"}
    assert data["settings"][first["setting"]] == {"checkpoint": "ema"}
    assert (second["prompt"], second["replay"], second["own"]) == (HOSTILE, "", {})
    assert data["points"] == [{"name": "stage1", "stage": "stage1", "step": 8}]


def test_a_reference_is_shown_beside_its_sample_where_its_first_frame_was_kept(run_dir):
    known, gone = ("ab" * 32), ("cd" * 32)
    record_of(run_dir, 0, references=[{"name": "x.png", "sha256": s} for s in (known, gone)])
    kept = run_dir / "samples/stage1" / reference_picture(known)
    kept.parent.mkdir()
    Image.new("RGB", (4, 4), "red").save(kept)
    first, second = shown(run_dir)["samples"]
    (address,) = first["references"]
    assert (run_dir.parent / "page" / address).read_bytes() == kept.read_bytes()
    assert "with reference" in first["tags"]
    assert second["references"] == []


def test_equal_prompts_seeds_and_numbers_are_pairs_over_checkpoints(run_dir):
    stage = collect(run_dir).stages[0]
    milestone = replace(stage, name="stage1@4", samples=stage.samples[::-1])
    data = shown(run_dir, milestone, stage)
    pairs = {(s["point"], s["id"]): s["pair"] for s in data["samples"]}
    assert pairs[0, "s0"] == pairs[1, "s0"] != pairs[0, "s1"] == pairs[1, "s1"]
    assert data["points"][0] == {"name": "stage1@4", "stage": "stage1", "step": 4}


def test_what_lies_outside_the_run_or_is_gone_is_named_and_not_shown(run_dir, tmp_path):
    stage = collect(run_dir).stages[0]
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    write_json(tmp_path / "secret.json", {"checkpoint": "theirs"})
    table = stage.samples.assign(path=["../../../../secret.png", "gone.mp4"])
    first, second = shown(run_dir, replace(stage, samples=table))["samples"]
    assert (first["media"], first["absent"]) == ("", "not shown: outside the run")
    assert (first["replay"], second["absent"]) == ("", "file not found")


def test_a_changed_record_counts_as_none(run_dir):
    record_of(run_dir, 0)
    file = run_dir / "samples/stage1/0.json"
    file.write_text(file.read_text().replace('"ema"', '"other"'))
    assert shown(run_dir)["samples"][0]["replay"] == ""


def test_a_command_of_any_name_is_one_line_of_three_words():
    path = "results/it's $(canary) here/a b.json"
    assert shlex.split(replay_command(Path(path))) == ["opensora", "sample", "--replay", path]
    assert replay_command(Path("a\nb.json")) == ""


def test_a_poster_is_the_middle_frame_and_small(tmp_path):
    frames = np.zeros((5, 64, 2 * LONGER_SIDE, 3), np.uint8)
    frames[2] = 255
    write_video(tmp_path / "a.mp4", frames, 8)
    made = Image.open(io.BytesIO(poster(tmp_path / "a.mp4", 5)))
    assert (made.format, made.size) == ("JPEG", (LONGER_SIDE, 32))
    assert np.asarray(made).min() > 200


def test_a_sample_without_a_picture_says_why_and_can_be_played_still(run_dir):
    (run_dir / "samples/stage1/0.mp4").write_bytes(b"no video")
    first = shown(run_dir)["samples"][0]
    assert first["media"]
    assert first["poster"] == ""
    assert "is not a video" in first["absent"]
