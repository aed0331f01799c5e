"""CLIP: how well images and captions match.

A folder holds open_clip's files (open_clip_config.json, open_clip_model.safetensors) and
opensora.json, which says what an image is: one frame, or a storyboard of four.

Axes: N images or captions, T frames, H W pixels, D channels.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from opensora.core.errors import CheckpointError
from opensora.core.io import atomic_path, read_json, write_json
from opensora.models.weights.files import read_weights
from opensora.models.weights.folders import resolve_folder, weights_sha256
from opensora.models.weights.pretrained import load_parts

View = Literal["frame", "storyboard"]
STORYBOARD_FRAMES = 4
_CONFIG = "open_clip_config.json"
_WEIGHTS = "open_clip_model.safetensors"
_OWN = "opensora.json"


class ClipModel:
    """An open_clip network with its preprocessing.

    Attributes:
        network: the module; train it directly.
        config: open_clip's `model_cfg` and `preprocess_cfg`.
        view: what an image shows, "frame" or "storyboard".

    Args:
        config: `model_cfg` (embed_dim, vision_cfg, text_cfg) and, optionally, `preprocess_cfg`
            (mean, std, interpolation, resize_mode).
        view: "frame" or "storyboard".
    """

    def __init__(self, config: dict[str, Any], view: View = "frame") -> None:
        if view not in ("frame", "storyboard"):
            raise ValueError(f"view is {view!r}, expected 'frame' or 'storyboard'")
        self.config = config
        self.view = view
        self.folder: Path | None = None
        self.network: Any = open_clip.CLIP(**config["model_cfg"])
        size = config["model_cfg"]["vision_cfg"]["image_size"]
        self._transform = image_transform_v2(
            PreprocessCfg(**{**config.get("preprocess_cfg", {}), "size": size}), is_train=False
        )
        self._tokenizer = open_clip.SimpleTokenizer(
            context_length=config["model_cfg"]["text_cfg"]["context_length"]
        )

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.network.parameters()).device

    def preprocess(self, images: np.ndarray) -> Tensor:
        """Resize, crop and normalise uint8 [N, H, W, 3] to float32 [N, 3, size, size]."""
        return torch.stack([self._transform(Image.fromarray(image)) for image in images])

    def tokenize(self, texts: list[str]) -> Tensor:
        """Token ids [N, context_length]."""
        return self._tokenizer(texts)

    @torch.no_grad()
    def encode_images(self, images: np.ndarray) -> Tensor:
        """Embed images uint8 [N, H, W, 3] as unit vectors [N, D] on the CPU."""
        pixels = self.preprocess(images).to(self.device)
        self.network.eval()
        return self.network.encode_image(pixels, normalize=True).float().cpu()

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Tensor:
        """Embed captions as unit vectors [N, D] on the CPU."""
        tokens = self.tokenize(texts).to(self.device)
        self.network.eval()
        return self.network.encode_text(tokens, normalize=True).float().cpu()

    def identity(self) -> dict[str, Any]:
        """What decides the embeddings; only a model that was loaded has one."""
        if self.folder is None:
            raise ValueError("save and load the model before asking for its identity")
        return {"type": "clip", "weights": weights_sha256(self.folder), "view": self.view}


def storyboard(frames: np.ndarray) -> np.ndarray:
    """Four evenly spaced frames as a 2x2 grid, read like a comic, so that motion shows.

    Args:
        frames: uint8 [T, H, W, 3], T at least 1; the first and the last are always used.

    Returns:
        uint8 [2 H, 2 W, 3].
    """
    index = np.linspace(0, len(frames) - 1, STORYBOARD_FRAMES).round().astype(int)
    a, b, c, d = frames[index]
    return np.concatenate((np.concatenate((a, b), axis=1), np.concatenate((c, d), axis=1)))


def load_clip(name: str | Path, device: str | torch.device = "cpu") -> ClipModel:
    """Load a model.

    Args:
        name: folder, or a hub name of an open_clip model.
        device: where the network runs.

    Raises:
        CheckpointError: the folder does not hold an open_clip model.
    """
    folder = resolve_folder(name, kind="clip")
    for file in (_CONFIG, _WEIGHTS):
        if not (folder / file).is_file():
            raise CheckpointError(f"clip: {folder / file} is missing; give an open_clip folder")
    view: View = read_json(folder / _OWN)["view"] if (folder / _OWN).is_file() else "frame"

    config = read_json(folder / _CONFIG)
    check_words(config, folder)
    clip = load_parts(lambda: ClipModel(config, view), folder, kind="clip")
    weights = read_weights(folder / _WEIGHTS)
    absent = sorted(clip.network.state_dict().keys() - weights.keys())
    if absent:
        raise CheckpointError(
            f"clip: {folder / _WEIGHTS} lacks {len(absent)} weights (first: {absent[0]}); give the"
            " folder of a complete model"
        )
    load_parts(lambda: clip.network.load_state_dict(weights), folder, kind="clip")
    clip.folder = folder
    clip.network.eval().requires_grad_(False).to(device)
    return clip


def check_words(config: Any, folder: Path) -> None:
    """Refuse a CLIP whose texts are read by a vocabulary other than CLIP's own, which is known.

    Raises:
        CheckpointError: names what the config asks for.
    """
    text = config.get("model_cfg", {}).get("text_cfg", {}) if isinstance(config, dict) else {}
    own = open_clip.SimpleTokenizer().vocab_size
    for name, is_other in (
        ("hf_tokenizer_name", bool(text.get("hf_tokenizer_name"))),
        ("tokenizer_kwargs", bool(text.get("tokenizer_kwargs"))),
        ("vocab_size", text.get("vocab_size", own) < own),
    ):
        if is_other:
            raise CheckpointError(
                f"clip: {folder / _CONFIG} has {name} {text[name]!r}, so its texts are read by"
                f" another vocabulary than CLIP's of {own} words; give a CLIP that reads with that"
            )


def save_clip(folder: str | Path, clip: ClipModel) -> None:
    """Write a model as a folder that `load_clip` and open_clip's "local-dir:" both read."""
    with atomic_path(folder, folder=True) as temporary:
        weights = {k: v.detach().cpu().contiguous() for k, v in clip.network.state_dict().items()}
        save_file(weights, temporary / _WEIGHTS)
        write_json(temporary / _CONFIG, clip.config)
        write_json(temporary / _OWN, {"view": clip.view})
