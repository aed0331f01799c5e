"""Short names of the command line."""

import pytest

from opensora.config.fields import expand_aliases
from opensora.core.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "pair", "expanded"),
    [
        ("inference", ("ckpt_path", "a.pt"), ("model.from_pretrained", "a.pt")),
        ("train", ("ckpt_path", "a.pt"), ("model.from_pretrained", "a.pt")),
        ("inference", ("num_sampling_steps", 9), ("scheduler.num_sampling_steps", 9)),
        ("inference", ("cfg_scale", 4.0), ("scheduler.cfg_scale", 4.0)),
        ("inference", ("num_sample", 2), ("num_samples", 2)),
        ("inference", ("num_inference_steps", 9), ("scheduler.num_sampling_steps", 9)),
        ("inference", ("guidance_scale", 4.0), ("scheduler.cfg_scale", 4.0)),
        ("inference", ("flash_attn", False), ("model.enable_flash_attn", False)),
        ("train", ("ckpt", "a.pt"), ("model.from_pretrained", "a.pt")),
        ("inference", ("num_frames", 16), ("num_frames", 16)),
        ("train", ("num_frames", 16), ("dataset.num_frames", 16)),
        ("train", ("image_size", [8, 8]), ("dataset.image_size", [8, 8])),
        ("train", ("data_path", "a.csv"), ("dataset.data_path", "a.csv")),
        ("train", ("root", "videos"), ("dataset.root", "videos")),
        ("train", ("load", "a.pt"), ("load", "a.pt")),
        ("train", ("model.enable_flashattn", True), ("model.enable_flash_attn", True)),
        ("inference", ("vae", "folder"), ("vae.from_pretrained", "folder")),
        ("inference", ("text_encoder", "folder"), ("text_encoder.from_pretrained", "folder")),
        ("inference", ("vae", {"type": "x"}), ("vae", {"type": "x"})),
        (None, ("ckpt_path", "a.pt"), ("ckpt_path", "a.pt")),
    ],
)
def test_a_short_name_is_a_field(kind: str | None, pair: tuple, expanded: tuple) -> None:
    assert expand_aliases([pair], kind) == [expanded]


def test_prompts_given_one_way_clear_those_of_the_file() -> None:
    assert expand_aliases([("prompt_path", "a.txt")], "inference") == [
        ("prompt", None),
        ("prompt_path", "a.txt"),
    ]
    assert expand_aliases([("prompt", "a cat")], "inference") == [
        ("prompt_path", None),
        ("prompt", "a cat"),
    ]
    with pytest.raises(ConfigError, match="exclude each other"):
        expand_aliases([("prompt", "a cat"), ("prompt_path", "a.txt")], "inference")


def test_clearing_prompts_says_nothing_about_the_other_kind() -> None:
    assert expand_aliases([("prompt_path", None)], "inference") == [("prompt_path", None)]
