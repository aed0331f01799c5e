"""Every shipped sampling config makes samples once its parts are there; here they are tiny."""

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from opensora.config.load import load_config
from opensora.config.registry import MODELS, build_module
from opensora.models.weights.checkpoint import save_weights
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.prompts import prompts_of
from opensora.sampling.run import sample_prompts
from opensora.sampling.settings import FIELDS, SamplingSettings
from opensora.tables.io import read_table

CONFIGS = Path(__file__).parents[3] / "configs"
# of open models: unit/cli/test_open_models.py; on autoencoders along time: test_opensora_1_2.py
ELSEWHERE = {"demo", "opensora-v1-2"} | {
    path.parts[-3]
    for path in CONFIGS.glob("*/inference/*.py")
    if 'type="diffusers"' in path.read_text(encoding="utf-8")
}
SHIPPED = sorted(
    path for path in CONFIGS.glob("*/inference/*.py") if path.parts[-3] not in ELSEWHERE
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP of two layers that reads letters."""
    folder = tmp_path_factory.mktemp("clip")
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{c}</w>" for c in LETTERS)]
    vocabulary = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    torch.manual_seed(0)
    CLIPTextModel(
        CLIPTextConfig(
            **sizes,
            num_hidden_layers=2,
            vocab_size=len(words),
            bos_token_id=0,
            eos_token_id=1,
        )
    ).save_pretrained(folder)
    return folder


def shrink(config, trained, clip_folder, tmp_path):
    """Put tiny parts and sizes into a config; all else stays as it is shipped."""
    text = dict(config["text_encoder"])
    known = {"in_channels": 4}
    if text["type"] != "classes":
        text["from_pretrained"] = str(trained.root / "t5" if text["type"] == "t5" else clip_folder)
        known |= {"caption_channels": 16, "model_max_length": text["model_max_length"]}
    model = {**config["model"], "hidden_size": 24, "depth": 2, "num_heads": 2}
    del model["from_pretrained"]
    torch.manual_seed(0)
    save_weights(build_module(model, MODELS, **known), tmp_path / "weights.safetensors")
    return {
        **config,
        "num_frames": min(config["num_frames"], 8),
        "image_size": (16, 24),
        "model": {**model, "from_pretrained": str(tmp_path / "weights.safetensors")},
        "vae": {**config["vae"], "from_pretrained": str(trained.root / "vae")},
        "text_encoder": text,
        "scheduler": {**config["scheduler"], "num_sampling_steps": 2},
        "save_dir": str(tmp_path / "samples"),
    }


def short_prompts(config):
    """The first lines of a prompt file; prompts of the config stay, with the files they name."""
    if config.get("prompt") is not None:
        return {}
    lines = Path(config["prompt_path"]).read_text().splitlines()
    return {"prompt": lines[:2], "prompt_path": None}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    """Relative paths of a config start where the command runs."""
    monkeypatch.chdir(CONFIGS.parent)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_shipped_config_samples(path, trained, clip_folder, tmp_path):
    config = load_config(path, known=FIELDS, kind="inference").to_dict()
    shipped = SamplingSettings.from_config(config)
    config = shrink(config, trained, clip_folder, tmp_path) | short_prompts(config)
    settings = SamplingSettings.from_config(config)
    prompts = prompts_of(config, settings)
    assert len(prompts) >= 2
    pipeline = load_pipeline(config, settings, "cpu")
    assert pipeline.condition_fps(settings) == (120 if settings.num_frames == 1 else shipped.fps)
    rows = read_table(sample_prompts(pipeline, prompts, settings, config))
    assert rows["num_frames"].tolist() == [settings.total_frames] * len(prompts)
    assert all((tmp_path / "samples" / name).is_file() for name in rows["path"])
    assert rows["fps"].tolist() == [shipped.fps / shipped.frame_interval] * len(prompts)


def test_all_families_are_shipped():
    assert {path.parts[-3] for path in SHIPPED} == {
        *("dit", "latte", "opensora", "opensora-v1-1", "pixart"),
    }


def test_the_references_of_a_shipped_config_are_shipped():
    path = CONFIGS / "opensora-v1-1/inference/sample-ref.py"
    config = load_config(path, kind="inference").to_dict()
    prompts = prompts_of(config, SamplingSettings.from_config(config))
    assert [[reference.name for reference in prompt.references] for prompt in prompts] == [
        ["assets/videos/coast-road.mp4"],
        ["assets/images/condition/cliff.png"],
        ["assets/images/condition/wave.png"],
    ]
