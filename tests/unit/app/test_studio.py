"""What the form asks for, before anything is sampled."""

from pathlib import Path

import pytest

from opensora.app.studio import Studio, Wish
from opensora.core.errors import ConfigError, Stopped
from opensora.core.io import sha256_file

CONFIG = {
    "num_frames": 4,
    "fps": 8,
    "image_size": [16, 16],
    "scheduler": {"type": "rflow", "num_sampling_steps": 20, "shift": 2.0},
    "model": {"qk_norm": True},
}


def wish(**changes) -> Wish:
    fields = {"prompt": "a cat", "height": 8, "width": 12, "num_frames": 1, "seed": 3}
    return Wish(**{**fields, **changes})


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    checkpoints = {"stage1": Path("a/ema.safetensors"), "x/y": Path("x/y")}
    return Studio(CONFIG, checkpoints, tmp_path / "made", "cpu")


def test_the_form_replaces_fields_of_the_config(studio: Studio) -> None:
    config = studio._resolve(wish(steps=7, guidance=1.5), "stage1")
    assert config["scheduler"] == {
        **{"type": "rflow", "num_sampling_steps": 7, "shift": 2.0, "cfg_scale": 1.5}
    }
    assert config["model"] == {"qk_norm": True, "from_pretrained": "a/ema.safetensors"}
    assert (config["image_size"], config["num_frames"], config["seed"]) == ([8, 12], 1, 3)
    assert config["prompt"] == ["a cat"]
    bare = studio._resolve(wish(), "stage1")
    assert bare["scheduler"] == CONFIG["scheduler"], "what is left empty stays as it was"
    assert "reference_path" not in bare


def test_another_wish_has_another_folder(studio: Studio, tmp_path: Path) -> None:
    wishes = [wish(), wish(seed=4), wish(prompt="--a dog"), wish(steps=2)]
    folders = [studio._resolve(each, name)["save_dir"] for each in wishes for name in ("x/y",)]
    assert len({*folders, studio._resolve(wish(), "stage1")["save_dir"]}) == 5
    assert folders[0] == studio._resolve(wish(), "x/y")["save_dir"]
    assert {Path(folder).parent for folder in folders} == {tmp_path / "made"}


def test_a_reference_is_kept_beside_the_samples(studio: Studio, tmp_path: Path) -> None:
    given = tmp_path / "a; b.PNG"
    given.write_bytes(b"picture")
    config = studio._resolve(wish(reference=given, mask_strategy="0,0,-1"), "stage1")
    (kept,) = config["reference_path"]
    assert Path(kept) == tmp_path / "made/references" / f"{sha256_file(given)[:16]}.png"
    assert Path(kept).read_bytes() == b"picture"
    assert config["mask_strategy"] == ["0,0,-1"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": None}, "seed is empty"),
        ({"num_frames": None}, "frames is empty"),
        ({"height": 0}, "height is 0; give 1 or more"),
        ({"width": -5}, "width is -5; give 1 or more"),
        ({"height": 1.5}, r"height is 1\.5; give a whole number"),
        ({"num_samples": 5_000}, "samples is 5,000; give 1 to 1,000"),
        ({"steps": 0}, "steps is 0; give 1 to 10,000"),
        ({"height": 100_000, "width": 100_000}, "are too many: 10,000,000,000, and at most"),
        ({"prompt": 'a cat {"reference_path": "http://x/y.png"}'}, "use those of the form"),
    ],
)
def test_what_can_not_be_sampled_is_one_sentence(studio: Studio, changes, words) -> None:
    with pytest.raises(ConfigError, match=words):
        studio._resolve(wish(**changes), "stage1")


def test_records_that_can_not_be_read_are_told(studio: Studio, tmp_path: Path, caplog) -> None:
    folder = tmp_path / "made/stage1-0"
    folder.mkdir(parents=True)
    (folder / "bad.json").write_text("{")
    (folder / "good.json").write_text(
        '{"path": "good.mp4", "prompt": "a cat",'
        ' "config": {"model": {"from_pretrained": "a/ema.safetensors"}}}'
    )
    (made,) = studio.made(10)
    assert (made.path, made.checkpoint) == (folder / "good.mp4", "stage1")
    assert made.command == f"opensora sample --replay {folder / 'good.json'}"
    assert "bad.json" in caplog.text


def test_a_stop_ends_the_wait_for_others(studio: Studio) -> None:
    told = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        raise Stopped("stopped waiting")

    with studio._turn(None), pytest.raises(Stopped), studio._turn(stop):
        raise AssertionError("two at once")
    assert told == [(0, 0)]
    with studio._turn(stop):
        assert told == [(0, 0)], "nobody is waited for"
