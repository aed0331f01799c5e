"""A tiny but complete trained folder: STDiT2, image VAE and byte-level T5, saved to disk."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from opensora.core.config import save_config
from opensora.core.registry import MODELS, build_module
from opensora.models.checkpoint import save_weights

MODEL = {
    "type": "STDiT2",
    "input_sq_size": 16,
    "in_channels": 4,
    "patch_size": (1, 2, 2),
    "hidden_size": 24,
    "depth": 1,
    "num_heads": 2,
    "caption_channels": 16,
    "model_max_length": 24,
    "pred_sigma": False,
}
TRAINING = {"model": MODEL, "scheduler": {"type": "rflow", "shift": 3.0, "loc": 0.5}, "lr": 1e-3}


def save_vae(folder: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )
    vae.save_pretrained(folder)


def save_text_encoder(folder: Path) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    T5EncoderModel(T5Config(vocab_size=384, **sizes)).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)


def save_model(folder: Path) -> None:
    torch.manual_seed(0)
    model = build_module(MODEL, MODELS)
    for parameter in model.parameters():  # the final layer starts at zero: make prompts matter
        if parameter.requires_grad and parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    folder.mkdir()
    save_weights(model, folder / "ema.safetensors")
    save_config(TRAINING, folder / "config.py")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Paths of a trained folder and a sampling config that uses it."""
    root = tmp_path_factory.mktemp("trained")
    save_vae(root / "vae")
    save_text_encoder(root / "t5")
    save_model(root / "stage1")
    return SimpleNamespace(root=root, checkpoint=root / "stage1" / "ema.safetensors")


@pytest.fixture
def config(trained, tmp_path):
    """Fields of a sampling config for the trained folder."""
    return {
        "num_frames": 3,
        "fps": 8,
        "image_size": [16, 12],
        "save_dir": str(tmp_path / "samples"),
        "prompt": ["a red circle moves left", "a blue square moves up"],
        "checkpoint": str(trained.checkpoint),
        "vae": {"type": "VideoAutoencoderKL", "from_pretrained": str(trained.root / "vae")},
        "text_encoder": {"type": "t5", "from_pretrained": str(trained.root / "t5")},
        "scheduler": {"type": "rflow", "num_sampling_steps": 2, "cfg_scale": 2.5},
    }


@pytest.fixture
def config_file(config, tmp_path):
    """The same config as a file."""
    path = tmp_path / "sample.py"
    save_config(config, path)
    return path


@pytest.fixture
def read_record():
    return lambda path: json.loads(Path(path).read_text())
