"""The shipped training configs of the reference train online, at tiny sizes on the CPU."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from opensora.cli.main import main
from opensora.config.load import load_config
from opensora.config.registry import MODELS, build_module

CONFIGS = Path(__file__).parents[3] / "configs"
TINY = ["--model.hidden-size", "24", "--model.depth", "2", "--model.num-heads", "2"]
TINY += ["--model.patch-size", "(1, 2, 2)", "--model.from-pretrained", "None"]
HERE = ["--plugin", "ddp", "--dtype", "fp32", "--epochs", "1", "--log-every", "1"]
FIXED = ["--dataset.num-frames", "4", "--dataset.frame-interval", "1"]
FIXED += ["--dataset.image-size", "24", "24", "--batch-size", "2"]
BUCKETS = ["--bucket-config", "{'24px': {4: (1.0, 2), 1: (1.0, 2)}}", "--batch-size", "None"]
BUCKETS += ["--dataset.frame-interval", "1"]

CASES = {  # config -> plain class of its model, text encoder, sizes
    "opensora/train/16x256x256": ("STDiT", "t5", FIXED),
    "opensora/train/16x256x256-mask": ("STDiT", "t5", FIXED),
    "opensora/train/16x256x256-spee": ("STDiT", "t5", FIXED),
    "opensora-v1-1/train/stage1": ("STDiT2", "t5", BUCKETS),
    "dit/train/16x256x256": ("DiT", "clip", FIXED),
    "latte/train/16x256x256": ("Latte", "clip", FIXED),
    "pixart/train/16x256x256": ("PixArt", "t5", FIXED),
}


def train(world: Path, name: str, outputs: Path, *more: str) -> int:
    kind, encoder, sizes = CASES[name]
    words = ["train", f"{CONFIGS}/{name}.py", "--outputs", str(outputs), *TINY, *HERE, *sizes]
    words += ["--data-path", f"{world}/manifest.csv", "--vae", f"{world}/vae"]
    words += ["--text-encoder", f"{world}/{encoder}", "--text-encoder.model-max-length", "12"]
    return main([*words, "--model.type", kind, *more])


@pytest.mark.parametrize("name", CASES)
def test_a_config_of_the_reference_trains_from_videos(video_world, tmp_path, name, capsys):
    assert train(video_world, name, tmp_path / "out") == 0, capsys.readouterr().err
    lines = (tmp_path / "out/metrics.jsonl").read_text().splitlines()
    kind = CASES[name][0]
    assert len(lines) == (3 if kind == "STDiT2" else 2)  # two batches of clips, one of images
    assert all(0 < json.loads(line)["loss"] < 10 for line in lines)


def test_the_position_tables_of_a_fixed_size_are_those_of_its_latents(video_world, tmp_path):
    assert train(video_world, "opensora/train/16x256x256", tmp_path / "out") == 0
    weights = load_file(tmp_path / "out/model.safetensors")
    assert weights["pos_embed"].shape == (1, 9, 24)  # 24 pixels, stride 4, patches of 2
    assert weights["pos_embed_temporal"].shape == (1, 4, 24)


def test_weights_of_pixart_start_stdit(video_world, tmp_path, caplog):
    fields = {"hidden_size": 24, "depth": 2, "num_heads": 2, "patch_size": (1, 2, 2)}
    fields |= {"input_size": (1, 6, 6), "caption_channels": 16, "model_max_length": 12}
    torch.manual_seed(3)
    pixart = build_module({"type": "PixArt", **fields}, MODELS).state_dict()
    pixart = {name: torch.randn_like(value) * 0.02 for name, value in pixart.items()}
    save_file(pixart, tmp_path / "pixart.safetensors")
    words = ["--ckpt-path", str(tmp_path / "pixart.safetensors"), "--lr", "0.0"]
    assert train(video_world, "opensora/train/16x256x256", tmp_path / "out", *words) == 0
    stdit = load_file(tmp_path / "out/model.safetensors")
    common = [name for name in pixart if name in stdit and "pos_embed" not in name]
    assert len(common) > 40
    for name in common:
        assert torch.equal(stdit[name], pixart[name].view_as(stdit[name])), name
    # attention along time adds nothing at first
    assert not stdit["blocks.0.attn_temp.proj.weight"].any()


def test_start_weights_that_are_not_there_or_of_another_model_are_refused(
    video_world, tmp_path, capsys
):
    name = "opensora/train/16x256x256"
    assert train(video_world, name, tmp_path / "out", "--ckpt-path", "/nowhere.pth") == 2
    assert "/nowhere.pth" in capsys.readouterr().err.strip().splitlines()[-1]
    save_file({"strange": torch.zeros(2)}, tmp_path / "other.safetensors")
    words = ["--ckpt-path", str(tmp_path / "other.safetensors")]
    assert train(video_world, name, tmp_path / "out", *words) == 2
    assert "strange" in capsys.readouterr().err.strip().splitlines()[-1]


def test_masks_for_a_model_that_takes_none_are_refused(video_world, tmp_path, capsys):
    words = ["--mask-ratios", "{'image_head': 1.0}"]
    assert train(video_world, "dit/train/16x256x256", tmp_path / "out", *words) == 2
    assert "mask_ratios: DiT can not be given" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_model_of_pooled_texts_samples_from_its_own_results(video_world, tmp_path, capsys):
    assert train(video_world, "dit/train/16x256x256", tmp_path / "out") == 0
    assert load_config(tmp_path / "out/config.py").model["model_max_length"] == 1  # of embeddings
    (tmp_path / "sample.py").write_text(
        "num_frames, fps, image_size, dtype = 4, 8, (24, 24), 'fp32'\n"
        "vae = dict(type='VideoAutoencoderKL')\n"
        "text_encoder = dict(type='clip', model_max_length=12)\n"
        "scheduler = dict(type='iddpm', num_sampling_steps=2, cfg_scale=2.0)\n"
    )
    words = ["sample", f"{tmp_path}/sample.py", "--ckpt-path", f"{tmp_path}/out/ema.safetensors"]
    words += ["--vae", f"{video_world}/vae", "--text-encoder", f"{video_world}/clip"]
    words += ["--prompt", "box 1 moves", "--save-dir", f"{tmp_path}/samples"]
    assert main(words) == 0, capsys.readouterr().err
    assert len(list((tmp_path / "samples").glob("*.mp4"))) == 1
