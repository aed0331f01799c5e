"""Networks of metrics with random weights: EfficientNet-Lite0 under its published names, a CLIP."""

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from opensora.models.clip_model import ClipModel, View, save_clip
from opensora.models.efficientnet_lite import names_in_file

TINY_CLIP = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {
            **{"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
        },
        "text_cfg": {
            **{"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
        },
    }
}
SCORER_CLIP = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 16,
            "layers": 1,
            "width": 32,
            "patch_size": 8,
            "head_width": 16,
        },
        "text_cfg": {
            **{"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
        },
    }
}


def save_features(path: Path) -> Path:
    torch.manual_seed(0)
    own = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    names = names_in_file(list(own))
    path.parent.mkdir(exist_ok=True)
    save_file({other: own[name].contiguous() for name, other in names.items()}, path)
    return path


def save_tiny_clip(folder: Path, view: View) -> str:
    return _save(folder, TINY_CLIP, view)


def save_scorer_clip(folder: Path, view: View) -> str:
    """A CLIP of 16 channels, as many as the heads of the scorers' tests read."""
    return _save(folder, SCORER_CLIP, view)


def _save(folder: Path, config: dict, view: View) -> str:
    torch.manual_seed(0)
    save_clip(folder, ClipModel(config, view))
    return str(folder)
