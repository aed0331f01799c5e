"""A tiny Wan, trained on a few clips by its adapters or whole, back in diffusers' own pipeline."""

from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file

from opensora.cli.main import main
from opensora.config.load import read_saved_config
from opensora.config.registry import MODELS, build_module
from opensora.models.weights.checkpoint import load_checkpoint
from tests import tiny_open

CONFIGS = Path(__file__).parents[3] / "configs/wan"
BUCKETS = "{'16x16': {1: (1.0, 2)}}"


@pytest.fixture(name="wan", scope="module")
def _wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_open.wan(tmp_path_factory.mktemp("wan"))


def train(world: Path, wan: Path, outputs: Path, config: str, *more: str) -> int:
    words = ["--data-path", f"{world}/manifest.csv", "--vae", str(wan), "--ckpt-path", str(wan)]
    words += ["--text-encoder", str(wan), "--text-encoder.model-max-length", "16"]
    words += ["--bucket-config", BUCKETS, "--num-steps", "2", "--warmup-steps", "0"]
    words += ["--dtype", "fp32", "--lr", "0.05", "--plugin", "ddp", "--ema-decay", "0.0"]
    words += ["--dataset.type", "VariableVideoTextDataset", "--accumulate", "1"]
    return main(
        ["train", str(CONFIGS / "train" / config), "--outputs", str(outputs), *words, *more]
    )


def test_adapters_and_whole_weights_load_where_they_came_from(video_world, wan, tmp_path, capsys):
    lora, whole = tmp_path / "lora", tmp_path / "whole"
    assert train(video_world, wan, lora, "t2v_1_3b_lora.py", "--lora.alpha", "64") == 0
    assert train(video_world, wan, whole, "t2v_1_3b_full.py") == 0
    for outputs, more in ((lora, []), (whole, ["--pipeline", str(wan)])):
        target = tmp_path / f"{outputs.name}_away"
        assert main(["export-weights", str(outputs), "--output", str(target), *more]) == 0
        # 1. in diffusers
        if more:
            pipeline = diffusers.WanPipeline.from_pretrained(target)
        else:
            pipeline = diffusers.WanPipeline.from_pretrained(wan)
            pipeline.load_lora_weights(target)
        # 2. here, as it is sampled
        fields = read_saved_config(outputs / "config.py")["model"]
        model = build_module(fields, MODELS)
        assert not load_checkpoint(model, outputs / "ema.safetensors").missing
        base = load_file(wan / "transformer/diffusion_pytorch_model.safetensors")
        trained = load_file(outputs / "ema.safetensors")
        assert any((trained[name] != base[name]).any() for name in base)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 4, 1, 2, 2, generator=generator)
        text = torch.randn(1, 5, tiny_open.TEXT_CHANNELS, generator=generator)
        with torch.no_grad():
            expected = pipeline.transformer(x, torch.tensor([500.0]), text, return_dict=False)[0]
            found = model.eval()(x, torch.tensor([500.0]), y=text[:, None])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    # 3. whole weights need the other parts of their pipeline, and sampling none but these
    capsys.readouterr()
    assert main(["export-weights", str(whole), "--output", str(tmp_path / "x")]) == 2
    assert "give --pipeline FOLDER" in capsys.readouterr().err
    words = ["--ckpt-path", str(lora / "ema.safetensors"), "--vae", str(wan), "--device", "cpu"]
    words += ["--text-encoder", str(wan), "--prompt", "a box", "--save-dir", str(tmp_path / "s")]
    words += ["--num-frames", "1", "--image-size", "16", "16", "--num-sampling-steps", "2"]
    words += ["--text-encoder.model-max-length", "16", "--dtype", "fp32"]
    sample = str(CONFIGS / "inference/t2v_1_3b.py")
    assert main(["sample", sample, *words]) == 0
    assert len(list((tmp_path / "s").glob("*.png"))) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"text_channels": 8}, "takes texts of 8 channels and the text encoder gives 16"),
        ({"channels": 8}, "takes 8 latent channels and the autoencoder gives 4"),
        ("transformer", "has no transformer/; give the folder of a whole pipeline"),
        ("family", "'Flux' is of no family known here; expected one of Wan"),
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
    assert train(video_world, folder, tmp_path / "out", "t2v_1_3b_full.py") == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("opensora train:")]
    assert len(lines) == 1
    assert sentence in lines[0]
