"""CLIP: how well images and captions match.

A folder holds open_clip's files (open_clip_config.json, open_clip_model.safetensors, and those of
its tokenizer where that is one of transformers, as SigLIP's), as a hub has them. What a run trains
itself has opensora.json beside them, which says what an image is: one frame, or a storyboard of
four. Networks, preprocessing and tokenizers are made by open_clip's own loaders.

Axes: N images or captions, T frames, H W pixels, D channels.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from opensora.core.errors import CheckpointError
from opensora.core.io import atomic_path, read_json_object, write_json
from opensora.models.text_encoder import vocabulary
from opensora.models.weights.files import read_weights
from opensora.models.weights.folders import encoder_sha256, resolve_folder, weights_sha256
from opensora.models.weights.pretrained import NO_CODE, load_parts

View = Literal["frame", "storyboard"]
STORYBOARD_FRAMES = 4
_CONFIG = "open_clip_config.json"
_WEIGHTS = "open_clip_model.safetensors"
_OWN = "opensora.json"
_OTHER_WORDS = ("hf_tokenizer_name", "tokenizer_kwargs")


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
        network: made from the config; None = a CLIP with random weights.
        tokenizer: turns texts into ids; None = CLIP's own.
    """

    def __init__(
        self,
        config: dict[str, Any],
        view: View = "frame",
        network: Any = None,
        tokenizer: Any = None,
    ) -> None:
        if view not in ("frame", "storyboard"):
            raise ValueError(f"view is {view!r}, expected 'frame' or 'storyboard'")
        self.config = config
        self.view = view
        self.folder: Path | None = None
        self.network: Any = open_clip.CLIP(**config["model_cfg"]) if network is None else network
        size = config["model_cfg"]["vision_cfg"]["image_size"]
        given = merge_preprocess_dict(asdict(PreprocessCfg()), config.get("preprocess_cfg", {}))
        self._transform = image_transform_v2(
            PreprocessCfg(**{**given, "size": size}), is_train=False
        )
        self._tokenizer = tokenizer or open_clip.SimpleTokenizer(
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
        is_own = isinstance(self._tokenizer, open_clip.SimpleTokenizer)  # the same in all folders
        digest = weights_sha256(self.folder) if is_own else encoder_sha256(self.folder)
        return {"type": "clip", "weights": digest, "view": self.view}


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
        CheckpointError: the folder does not hold an open_clip model, or one that asks for more
            than its own files.
    """
    folder = resolve_folder(name, kind="clip")
    for file in (_CONFIG, _WEIGHTS):
        if not (folder / file).is_file():
            raise CheckpointError(f"clip: {folder / file} is missing; give an open_clip folder")
    view: View = "frame"
    if (folder / _OWN).is_file():
        view = read_json_object(folder / _OWN).get("view", view)

    config = read_json_object(folder / _CONFIG)
    check_config(config, folder)
    clip = load_parts(lambda: _make(folder, config, view), folder, kind="clip")
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


def _make(folder: Path, config: dict[str, Any], view: View) -> ClipModel:
    """The network with random weights, and the tokenizer, as open_clip makes them of a folder."""
    place = f"local-dir:{folder}"
    # what its config asks to fetch is not fetched, and what it asks to run is not run
    network = open_clip.create_model(place, load_weights=False, pretrained_text=False)
    text = config["model_cfg"]["text_cfg"]
    if not text.get("hf_tokenizer_name"):
        return ClipModel(config, view, network, open_clip.get_tokenizer(place))
    tokenizer: Any = open_clip.get_tokenizer(place, **NO_CODE)
    vocabulary.check_words(tokenizer.tokenizer, folder, kind="clip tokenizer")
    vocabulary.check_fit(tokenizer.tokenizer, text["vocab_size"], folder, kind="clip tokenizer")
    return ClipModel(config, view, network, tokenizer)


def check_config(config: Any, folder: Path) -> None:
    """Refuse a CLIP that needs what its folder does not hold, or whose words have no vectors.

    Raises:
        CheckpointError: names what the config asks for.
    """
    model = config.get("model_cfg", {}) if isinstance(config, dict) else {}
    text, vision = model.get("text_cfg", {}), model.get("vision_cfg", {})
    if "hf_model_name" in text:
        raise CheckpointError(
            f"clip: {folder / _CONFIG} has a text tower of transformers,"
            f" {text['hf_model_name']!r}, which would be fetched; give a CLIP whose towers are"
            " open_clip's or timm's, as those of OpenAI, LAION, SigLIP and EVA"
        )
    if ":" in str(vision.get("timm_model_name", "")):
        raise CheckpointError(
            f"clip: {folder / _CONFIG} has timm_model_name {vision['timm_model_name']!r}, which"
            " would be fetched; give a CLIP that names a model of timm itself"
        )
    if not text.get("hf_tokenizer_name"):
        _check_own_words(text, folder)


def check_own_text_tower(folder: Path) -> None:
    """Refuse a CLIP whose texts are not read as OpenAI's reads them: by its words, in its tower.

    Raises:
        CheckpointError: names what the config asks for.
    """
    model = read_json_object(folder / _CONFIG).get("model_cfg", {})
    text = model.get("text_cfg", {})
    _check_own_words(text, folder)
    for fields, name in ((model, "custom_text"), *((text, name) for name in _OTHER_WORDS)):
        if fields.get(name):
            raise CheckpointError(
                f"clip: {folder / _CONFIG} has {name} {fields[name]!r}, and as text encoder"
                " only a CLIP with OpenAI's own text tower and words is read; give one"
            )


def _check_own_words(text: Mapping[str, Any], folder: Path) -> None:
    own = open_clip.SimpleTokenizer().vocab_size
    if text.get("vocab_size", own) < own:
        raise CheckpointError(
            f"clip: {folder / _CONFIG} has vocab_size {text['vocab_size']!r}, so its texts are"
            f" read by another vocabulary than CLIP's of {own} words, which it does not name"
        )


def save_clip(folder: str | Path, clip: ClipModel) -> None:
    """Write a model as a folder that `load_clip` and open_clip's "local-dir:" both read."""
    with atomic_path(folder, folder=True) as temporary:
        weights = {k: v.detach().cpu().contiguous() for k, v in clip.network.state_dict().items()}
        save_file(weights, temporary / _WEIGHTS)
        write_json(temporary / _CONFIG, clip.config)
        write_json(temporary / _OWN, {"view": clip.view})
