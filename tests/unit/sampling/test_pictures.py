"""Samples of models that read given frames: what their prompts need, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from opensora.core.errors import ConfigError
from opensora.sampling.batch import sample_latents
from opensora.sampling.pictures import given_conditions
from opensora.sampling.pipeline import Pipeline, load_pipeline
from opensora.sampling.prompts import SampleRequest, prompts_of
from opensora.sampling.run import check_prompts, sample_prompts
from opensora.sampling.settings import SamplingSettings
from opensora.tables.io import read_table
from tests import tiny_open

SIDE, FRAMES = 32, 5


@pytest.fixture(name="folders", scope="module")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("open")
    tiny_open.wan_pictures(root / "first")
    tiny_open.wan_pictures(root / "both", last=True)
    for name, value in (("dark", 30), ("light", 220)):
        pixels = np.full((SIDE, 2 * SIDE, 3), value, np.uint8)
        pixels[:, :: value // 10] = 128
        Image.fromarray(pixels).save(root / f"{name}.png")
    return root


def config_of(folders: Path, name: str, save_dir: Path, **fields: Any) -> dict[str, Any]:
    folder = str(folders / name)
    return {
        "model": {"type": "diffusers", "from_pretrained": folder},
        "vae": {"from_pretrained": folder},
        "text_encoder": {"type": "umt5", "from_pretrained": folder, "model_max_length": 32},
        "image_encoder": {"from_pretrained": folder},
        "scheduler": {"type": "flow-match", "num_sampling_steps": 2},
        **{"num_frames": FRAMES, "image_size": (SIDE, SIDE), "fps": 8, "batch_size": 2},
        **{"prompt": ["a ball"], "save_dir": str(save_dir), **fields},
    }


def loaded(config: dict[str, Any]) -> tuple[Pipeline, SamplingSettings]:
    settings = SamplingSettings.from_config(config)
    return load_pipeline(config, settings, "cpu"), settings


def test_each_sample_begins_with_its_own_picture(folders, tmp_path):
    config = config_of(
        *(folders, "first", tmp_path),
        prompt=["a ball", "a ball", "a cube"],
        reference_path=[f"{folders}/dark.png", f"{folders}/light.png", f"{folders}/light.png"],
        mask_strategy="0",
    )
    pipeline, settings = loaded(config)
    prompts = prompts_of(config, settings)
    batch = [SampleRequest(prompt, 0) for prompt in prompts]
    given = given_conditions(pipeline, batch, settings)
    assert given["num_given"].tolist() == [1, 1, 1]
    assert torch.equal(given["given"][1], given["given"][2])
    assert not torch.equal(given["given"][0], given["given"][1])
    assert given["picture"].shape == (3, 1, tiny_open.PICTURE_TOKENS, tiny_open.PICTURE_CHANNELS)
    # a neighbour changes nothing
    alone = given_conditions(pipeline, batch[1:2], settings)
    assert torch.equal(alone["given"][0], given["given"][1])
    generators = [torch.Generator().manual_seed(1) for _ in batch]
    latents = sample_latents(pipeline, batch, settings, 0, [[]] * 3, None, generators)
    assert not torch.equal(latents[0], latents[1])  # one text and one noise
    table = read_table(sample_prompts(pipeline, prompts, settings, config))
    assert len(table) == 3
    assert len(list((tmp_path / "references").glob("*.first.png"))) == 2  # for the report


def test_a_model_of_two_frames_takes_the_last_one_too(folders, tmp_path):
    config = config_of(
        *(folders, "both", tmp_path),
        reference_path=[f"{folders}/dark.png;{folders}/light.png"],
        mask_strategy="0;0,1,0,-1",
    )
    pipeline, settings = loaded(config)
    (prompt,) = prompts_of(config, settings)
    given = given_conditions(pipeline, [SampleRequest(prompt, 0)], settings)
    assert given["num_given"].tolist() == [2]
    assert given["picture"].shape[1] == 2
    assert not torch.equal(given["picture"][0, 0], given["picture"][0, 1])


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("first", {}, r"mask_strategy is ''; give reference_path .* '0' \(first\)"),
        ("first", {"mask_strategy": "0,0,0,-1"}, r"is '0,0,0,-1,1,0'; give reference_path"),
        ("both", {"mask_strategy": "0"}, r"the mask_strategy '0;0,1,0,-1' \(first_last\)"),
        (
            "first",
            {"mask_strategy": "0", "loop": 2, "condition_frame_length": 1},
            "loop is 2 and this .* set loop to 1",
        ),
    ],
)
def test_prompts_that_do_not_say_their_pictures_are_one_sentence(
    folders, tmp_path, name, fields, sentence
):
    if fields:
        fields = {"reference_path": [f"{folders}/dark.png"], **fields}
    config = config_of(folders, name, tmp_path, **fields)
    pipeline, settings = loaded(config)
    with pytest.raises(ConfigError, match=sentence):
        check_prompts(pipeline, prompts_of(config, settings), settings)


@pytest.mark.parametrize(
    ("name", "encoder", "sentence"),
    [
        ("first", None, "names no image_encoder; give the folder of its pipeline with"),
        ("first-text", {"from_pretrained": "mine/clip"}, "has no effect: this Wan"),
        ("first", {"from_pretrained": "x", "cach_dir": "y"}, "no field 'cach_dir'; .*cache_dir"),
    ],
)
def test_an_image_encoder_that_does_not_fit_is_one_sentence(
    folders, tmp_path, name, encoder, sentence
):
    config = config_of(folders, name, tmp_path) | {"image_encoder": encoder}
    with pytest.raises(ConfigError, match=sentence):
        loaded(config)
