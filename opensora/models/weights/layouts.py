"""Whose weights a table of tensors holds, and the official layouts brought to our names."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

POSITION_TABLES = frozenset(
    {"pos_embed", "pos_embed_spatial", "pos_embed_temporal", "temp_embed", "rope.freqs"}
)  # made from sizes and scales alone: every model makes its own
PATCH_WEIGHT = "x_embedder.proj.weight"
OWN_LAYOUT = "Open-Sora"
_RELEASES = {"PixArt": "PixArt-alpha", "PixArtMS": "PixArt-alpha"}

# family -> beginnings of names that all occur in its weights; the first that fits counts
_SIGNS = {
    "STDiT3": ("spatial_blocks.0.", "temporal_blocks.0."),
    "STDiT2": ("blocks.0.attn_temp.", "fps_embedder."),
    "STDiT": ("blocks.0.attn_temp.",),
    "PixArtMS": ("blocks.0.cross_attn.", "csize_embedder."),
    "PixArt": ("blocks.0.cross_attn.",),
    "Latte": ("blocks.0.adaLN_modulation.", "temp_embed"),
    "DiT": ("blocks.0.adaLN_modulation.",),
    "a transformer in the layout of diffusers": ("transformer_blocks.0.",),
    "a U-Net": ("down_blocks.0.", "mid_block."),
    "a video autoencoder of Open-Sora": ("spatial_vae.",),
    "an autoencoder (VAE)": ("encoder.conv_in.", "decoder."),
    "a whole Stable Diffusion checkpoint": ("first_stage_model.",),
    "a T5 text encoder": ("encoder.block.0.",),
    "a CLIP model": ("text_model.",),
    "an open_clip model": ("visual.", "token_embedding."),
}

# model -> families whose weights may start it, besides its own
_STARTS: dict[str, frozenset[str]] = {
    "STDiT": frozenset({"PixArt", "PixArtMS"}),
    "STDiT2": frozenset({"PixArt", "PixArtMS", "STDiT"}),
    "STDiT3": frozenset({"PixArt", "PixArtMS"}),
    "PixArt": frozenset({"PixArtMS"}),
    "PixArtMS": frozenset({"PixArt"}),
    "Latte": frozenset({"DiT"}),  # the same names, unless a file keeps Latte's table of frames
    "DiT": frozenset(),
}


def weights_family(names: Collection[str]) -> str | None:
    """The kind of model that weights of these names belong to, in words; None = unknown."""
    for family, signs in _SIGNS.items():
        if all(any(name.startswith(sign) for name in names) for sign in signs):
            return family
    return None


def starts_of(model_type: str) -> frozenset[str] | None:
    """Families whose weights may be loaded into a model class; None = a class of no family."""
    starts = _STARTS.get(model_type)
    return None if starts is None else starts | {model_type}


@dataclass(frozen=True)
class NamedWeights:
    """Weights under the names of the models here.

    Attributes:
        tensors: by name.
        family: whose weights they are, in words; None = unknown.
        layout: the release whose names and shapes they came in.
    """

    tensors: dict[str, Tensor]
    family: str | None
    layout: str


def normalise(weights: Mapping[str, Tensor]) -> NamedWeights:
    """Bring weights of an official release to the names and shapes of the models here.

    PixArt-alpha, DiT and Latte patch single frames: their convolution [D, C, ph, pw] gains a
    time axis of one. Their position tables are left out, since every model makes its own.
    """
    family = weights_family(weights)
    patches = weights.get(PATCH_WEIGHT)
    if patches is None or patches.ndim != 4:
        layout = (family or "unknown") if patches is None else OWN_LAYOUT
        return NamedWeights(dict(weights), family, layout)
    ours = {name: value for name, value in weights.items() if name not in POSITION_TABLES}
    ours[PATCH_WEIGHT] = patches.unsqueeze(2)
    return NamedWeights(ours, family, _RELEASES.get(str(family), str(family)))


def names_for(model_type: str, weights: NamedWeights) -> dict[str, Tensor]:
    """The tensors under the names of one model: PixArt's blocks are STDiT3's spatial blocks."""
    if model_type != "STDiT3" or weights.family == "STDiT3":
        return weights.tensors
    return {
        f"spatial_{name}" if name.startswith("blocks.") else name: value
        for name, value in weights.tensors.items()
    }
