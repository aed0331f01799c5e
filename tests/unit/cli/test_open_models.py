"""Tiny open models, trained on a few clips by adapters or whole, back in diffusers' pipelines."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file

from opensora.cli.main import main
from opensora.config.load import read_saved_config
from opensora.config.registry import MODELS, build_module
from opensora.models.weights.checkpoint import load_checkpoint
from opensora.schedulers.common import size_conditions
from tests import tiny_open
from tests.open_families import FAMILIES, FPS, LENGTH

CONFIGS = Path(__file__).parents[3] / "configs"
# family -> its configs of training and sampling, pixels of a small picture and of a latent value
ROWS = {
    "wan": ("wan/train/t2v_1_3b", "wan/inference/t2v_1_3b", 16, 8),
    "ltx": ("ltx/train/t2v", "ltx/inference/t2v", 32, 32),
    "ltx-2": ("ltx/train/ltx2", "ltx/inference/ltx2", 32, 32),
    "hunyuan-1.5": ("hunyuan/train/t2v", "hunyuan/inference/t2v", 16, 16),
    "sana-video": ("sana/train/t2v", "sana/inference/t2v", 16, 8),
    "cogvideox-2b": ("cogvideox/train/t2v_2b", "cogvideox/inference/t2v_2b", 16, 8),
}


def train(world: Path, folder: Path, outputs: Path, name: str, config: str, *more: str) -> int:
    side = ROWS[name][2]
    words = ["--data-path", f"{world}/manifest.csv", "--vae", str(folder)]
    words += ["--ckpt-path", str(folder), "--text-encoder", str(folder)]
    words += ["--text-encoder.model-max-length", str(FAMILIES[name].length)]
    words += ["--bucket-config", f"{{'{side}x{side}': {{1: (1.0, 2)}}}}"]
    words += ["--num-steps", "2", "--warmup-steps", "0"]
    words += ["--dtype", "fp32", "--lr", "0.05", "--plugin", "ddp", "--ema-decay", "0.0"]
    words += ["--dataset.type", "VariableVideoTextDataset", "--accumulate", "1"]
    return main(["train", str(CONFIGS / config), "--outputs", str(outputs), *words, *more])


def load_adapters(pipeline: Any, folder: Path) -> None:
    if hasattr(pipeline, "load_lora_weights"):
        pipeline.load_lora_weights(folder)
        return
    # HunyuanVideo 1.5's has no such method; its transformer has
    name = "pytorch_lora_weights.safetensors"
    pipeline.transformer.load_lora_adapter(folder, weight_name=name, prefix="transformer")


@pytest.mark.parametrize("name", ROWS)
def test_adapters_and_whole_weights_load_where_they_came_from(name, video_world, tmp_path, capsys):
    family, (config, sampling, side, stride) = FAMILIES[name], ROWS[name]
    folder = family.make(tmp_path / "pipeline")
    lora, whole = tmp_path / "lora", tmp_path / "whole"
    assert train(video_world, folder, lora, name, f"{config}_lora.py", "--lora.alpha", "64") == 0
    assert train(video_world, folder, whole, name, f"{config}_full.py") == 0
    official = getattr(diffusers, family.pipeline)
    for outputs, more in ((lora, []), (whole, ["--pipeline", str(folder)])):
        target = tmp_path / f"{outputs.name}_away"
        named = ["--output", str(target), "--base-model", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"]
        assert main(["export-weights", str(outputs), *named, *more]) == 0
        card = (target / "README.md").read_text()
        assert "base_model: Wan-AI/Wan2.1-T2V-1.3B-Diffusers\n" in card
        alone = name == "hunyuan-1.5"  # whose pipeline has no load_lora_weights
        way = "transformer.load_lora_adapter(" if alone else "pipe.load_lora_weights("
        assert (way in card) == (not more)
        # the pipeline pads a prompt as the captions were, where the model reads the padding
        told = f"max_sequence_length={family.length})" in card
        assert told == (name in ("wan", "cogvideox-2b"))
        assert str(tmp_path) not in card
        # 1. in diffusers
        if more:
            pipeline = official.from_pretrained(target)
        else:
            pipeline = official.from_pretrained(folder)
            load_adapters(pipeline, target)
        # 2. here, as it is sampled
        fields = read_saved_config(outputs / "config.py")["model"]
        model = build_module(fields, MODELS)
        assert not load_checkpoint(model, outputs / "ema.safetensors").missing
        base = load_file(folder / "transformer/diffusion_pytorch_model.safetensors")
        trained = load_file(outputs / "ema.safetensors")
        assert any((trained[name] != base[name]).any() for name in base)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 4, 1, 2, 2, generator=generator)
        text = torch.randn(1, LENGTH, family.text_channels, generator=generator)
        t, mask = torch.tensor([500.0]), torch.ones(1, LENGTH, dtype=torch.long)
        sizes = size_conditions(1, num_frames=1, height=2 * stride, width=2 * stride, fps=FPS)
        with torch.no_grad():
            expected = family.predict(pipeline.transformer, x, t, text, mask)
            found = model.eval()(x, t, y=text[:, None], mask=mask, **sizes)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    # 3. whole weights need the other parts of their pipeline, and sampling none but these
    capsys.readouterr()
    assert main(["export-weights", str(whole), "--output", str(tmp_path / "x")]) == 2
    assert "give --pipeline FOLDER" in capsys.readouterr().err
    words = ["--ckpt-path", str(lora / "ema.safetensors"), "--vae", str(folder), "--device", "cpu"]
    words += ["--text-encoder", str(folder), "--prompt", "a box", "--save-dir", str(tmp_path / "s")]
    words += ["--num-frames", "1", "--image-size", str(side), str(side)]
    words += ["--text-encoder.model-max-length", str(family.length), "--dtype", "fp32"]
    words += ["--num-sampling-steps", "2"]
    assert main(["sample", str(CONFIGS / f"{sampling}.py"), *words]) == 0
    assert len(list((tmp_path / "s").glob("*.png"))) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"text_channels": 8}, "takes texts of 8 channels and the text encoder gives 16"),
        ({"channels": 8}, "takes 8 latent channels and the autoencoder gives 4"),
        ("transformer", "has no transformer/; give the folder of a whole pipeline"),
        ("family", "'Flux' is of no family known here; expected one of CogVideoX"),
    ],
)
def test_a_folder_that_does_not_fit_is_one_sentence(
    change, sentence, video_world, tmp_path, capsys
):
    folder = tiny_open.wan(tmp_path / "wan", **(change if isinstance(change, dict) else {}))
    config = folder / "transformer/config.json"
    if change == "transformer":
        (folder / "transformer").rename(folder / "other")
    elif change == "family":
        config.write_text(config.read_text().replace("WanTransformer3DModel", "Flux"))
    assert train(video_world, folder, tmp_path / "out", "wan", "wan/train/t2v_1_3b_full.py") == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("opensora train:")]
    assert len(lines) == 1
    assert sentence in lines[0]
