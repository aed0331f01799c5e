"""Tiny but complete trained folders: transformers, image VAE and byte-level T5, saved to disk."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from opensora.config.load import save_config
from opensora.config.registry import MODELS, build_module
from opensora.models.weights.checkpoint import save_weights

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
SMALL = {"hidden_size": 24, "depth": 2, "num_heads": 2}
# models of the reference, without a training config beside their weights
OTHER_MODELS = {
    "stdit": {"type": "STDiT", **SMALL, "space_scale": 0.5, "input_size": (4, 8, 8)},
    "dit": {"type": "DiT", **SMALL, "condition": "label_10", "input_size": (1, 8, 8)},
    "latte": {"type": "Latte", **SMALL, "condition": "label_10", "input_size": (4, 8, 8)},
    "pixart": {"type": "PixArtMS", **SMALL, "input_size": (1, 8, 8)},
}
TEXT = {"caption_channels": 16, "model_max_length": 24}
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


def lively(fields: dict[str, Any]) -> torch.nn.Module:
    """A model whose last layers do not start at zero, so that all of it matters."""
    torch.manual_seed(0)
    model = build_module(fields, MODELS)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def save_model(folder: Path) -> None:
    folder.mkdir()
    save_weights(lively(MODEL), folder / "ema.safetensors")
    save_config(TRAINING, folder / "config.py")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Paths of a trained folder and a sampling config that uses it."""
    root = tmp_path_factory.mktemp("trained")
    save_vae(root / "vae")
    save_text_encoder(root / "t5")
    save_model(root / "stage1")
    for name, fields in OTHER_MODELS.items():
        text = {} if "condition" in fields else TEXT
        (root / name).mkdir()
        torch.save({"ema": lively({**fields, **text}).state_dict()}, root / name / "model.pt")
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
        "model": {"from_pretrained": str(trained.checkpoint)},
        "vae": {"type": "VideoAutoencoderKL", "from_pretrained": str(trained.root / "vae")},
        "text_encoder": {"type": "t5", "from_pretrained": str(trained.root / "t5")},
        "scheduler": {"type": "rflow", "num_sampling_steps": 2, "cfg_scale": 2.5},
    }


@pytest.fixture
def other_config(config, trained):
    """The same for one of the models of the reference, as its configs are written."""

    def make(name: str, **changes: Any) -> dict[str, Any]:
        fields = {**OTHER_MODELS[name], "from_pretrained": str(trained.root / name / "model.pt")}
        del fields["input_size"]
        made = {**config, "model": fields}
        made["scheduler"] = {"type": "iddpm", "num_sampling_steps": 3, "cfg_scale": 2.0}
        if "condition" in fields:
            made["text_encoder"] = {"type": "classes", "num_classes": 10}
            made["prompt"] = ["3", "7"]
        if name in ("dit", "pixart"):
            made["num_frames"] = 1
        return {**made, **changes}

    return make


@pytest.fixture
def config_file(config, tmp_path):
    """The same config as a file."""
    path = tmp_path / "sample.py"
    save_config(config, path)
    return path


@pytest.fixture
def read_record():
    return lambda path: json.loads(Path(path).read_text())
