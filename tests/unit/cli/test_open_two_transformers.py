"""Both transformers of a tiny Wan 2.2 A14B, trained one after the other and taken back."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opensora.cli.main import main
from opensora.config.load import read_saved_config
from tests import tiny_open
from tests.open_two import BOUNDARY, LENGTH, PARTS, drawn, of_diffusers, official, sampled

CONFIGS = Path(__file__).parents[3] / "configs/wan"


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_open.wan_2_2_a14b(tmp_path_factory.mktemp("open") / "wan")


def train(world: Path, folder: Path, outputs: Path, config: str, part: str, *more: str) -> int:
    words = ["--data-path", f"{world}/manifest.csv", "--vae", str(folder)]
    words += ["--ckpt-path", str(folder), "--text-encoder", str(folder), "--model.part", part]
    words += ["--text-encoder.model-max-length", str(LENGTH), "--num-steps", "2"]
    words += ["--bucket-config", "{'16x16': {1: (1.0, 2)}}", "--warmup-steps", "0"]
    words += ["--dtype", "fp32", "--lr", "0.05", "--plugin", "ddp", "--ema-decay", "0.0"]
    words += ["--dataset.type", "VariableVideoTextDataset", "--accumulate", "1"]
    return main(["train", str(CONFIGS / config), "--outputs", str(outputs), *words, *more])


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_what_two_stages_trained_samples_here_as_in_the_pipeline(
    kind, folder, video_world, tmp_path
):
    """LoRAs of both load in WanPipeline; whole weights go back into both places."""
    config = f"train/t2v_1_3b_{kind}.py"
    away = folder
    pipeline = official(folder)
    for part in PARTS:
        outputs, target = tmp_path / part, tmp_path / f"{part}_away"
        assert train(video_world, folder, outputs, config, part) == 0
        saved = read_saved_config(outputs / "config.py")["model"]
        assert (saved["part"], saved["boundary"]) == (part, BOUNDARY)
        base = load_file(folder / part / "diffusion_pytorch_model.safetensors")
        trained = load_file(outputs / "ema.safetensors")
        assert any((trained[name] != base[name]).any() for name in base)
        words = ["export-weights", str(outputs), "--output", str(target)]
        if kind == "full":
            assert main([*words, "--pipeline", str(away)]) == 0
            away = target  # the second goes into what the first one left
            continue
        assert main(words) == 0
        second = part == PARTS[1]
        assert ("load_into_transformer_2=True" in (target / "README.md").read_text()) == second
        pipeline.load_lora_weights(target, load_into_transformer_2=second)
    if kind == "full":
        pipeline = official(away)
    noise = drawn(1, 2, tiny_open.CHANNELS, 3, 4, 4)
    expected = of_diffusers(pipeline, noise, 4.0, 3.0)
    before = of_diffusers(official(folder), noise, 4.0, 3.0)
    assert (expected - before).abs().max() > 1e-2
    for first, second in (PARTS, PARTS[::-1]):  # whichever is the checkpoint
        model = {"from_pretrained": str(tmp_path / first), "other": str(tmp_path / second)}
        found, _ = sampled(folder, model, noise, cfg_scale=4.0, cfg_scale_2=3.0)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
