"""What `bench model` runs: a transformer of this project, or diffusers' one of the same layout."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import DiTTransformer2DModel, PixArtTransformer2DModel
from torch import Tensor, nn

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import ConfigError
from opensora.models.layers.embeddings import CaptionEmbedder, LabelEmbedder
from opensora.models.layers.transformer import VideoTransformer
from opensora.schedulers.common import size_conditions

STRIDE = 8  # of the autoencoder that the registered models are made for
_PEERS = {"PixArt": False, "PixArtMS": True}  # family -> whether it takes its size


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        num_frames: frames of the video, as many in the latents.
        image_size: height and width in pixels, multiples of 8.
        batch_size: videos at once.
        dtype: "fp32" or "bf16" of matrix products; weights stay fp32, as in training.
        device: "cpu" or "cuda".
        steps: timed runs.
        grad_checkpoint: recompute the blocks in the backward pass.
        model: fields that differ from those of the type, such as depth.

    Raises:
        ConfigError: a number below 1, or a size that the autoencoder can not make.
    """

    num_frames: int = 16
    image_size: tuple[int, int] = (256, 256)
    batch_size: int = 1
    dtype: str = "fp32"
    device: str = "cpu"
    steps: int = 5
    grad_checkpoint: bool = False
    model: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers."""
        numbers = self.num_frames, *self.image_size, self.batch_size, self.steps
        if min(numbers) < 1:
            raise ConfigError("num_frames, image_size, batch_size and steps start at 1")
        if any(side % STRIDE for side in self.image_size):
            sides = " ".join(map(str, self.image_size))
            raise ConfigError(f"image_size is {sides}; expected multiples of {STRIDE}")

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """(T, H, W) of the latents."""
        return self.num_frames, self.image_size[0] // STRIDE, self.image_size[1] // STRIDE


@dataclass(frozen=True)
class Subject:
    """A model with inputs for it.

    Attributes:
        name: for the table.
        model: in training mode.
        inputs: keywords of its forward pass.
        tokens: of the batch, after patching.
        compile: compiles the blocks where they stand.
    """

    name: str
    model: nn.Module
    inputs: dict[str, Any]
    tokens: int
    compile: Callable[[], object]


def our_subject(kind: str, settings: Settings) -> Subject:
    """A registered transformer on the default device.

    Raises:
        ConfigError: fields that do not go together.
    """
    config = {"type": kind, **settings.model}
    try:
        model: VideoTransformer = build_module(config, MODELS, input_size=settings.latent_size)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{kind}: {error}") from error
    model.set_grad_checkpoint(settings.grad_checkpoint)
    B, (T, H, W) = settings.batch_size, settings.latent_size
    embedder = model.y_embedder
    if isinstance(embedder, LabelEmbedder):
        y = torch.randint(embedder.num_classes, (B,))
    else:
        assert isinstance(embedder, CaptionEmbedder)
        length, channels = embedder.y_embedding.shape
        y = torch.randn(B, 1, length, channels)
    inputs = {
        "x": torch.randn(B, model.in_channels, T, H, W),
        "timestep": torch.rand(B) * 1000,
        "y": y,
        **size_conditions(B, num_frames=T, height=H * STRIDE, width=W * STRIDE, fps=24),
    }
    tokens = B
    for length in model.grid_size(settings.latent_size):
        tokens *= length
    return Subject(kind, model, inputs, tokens, model.compile_blocks)


def has_peer(kind: str, settings: Settings) -> bool:
    """Whether diffusers has a model of the same layout: single frames of PixArt and of DiT."""
    family, _, size = kind.partition("-")
    labels = str(settings.model.get("condition", "")).startswith("label_")
    alike = family in _PEERS or (family == "DiT" and labels)
    return alike and size in ("", "XL/2") and settings.num_frames == 1


def their_subject(kind: str, settings: Settings) -> Subject:
    """Diffusers' model for a kind that `has_peer`, of the same size, on the default device."""
    ours = our_subject(kind, settings)
    assert isinstance(ours.model, VideoTransformer)
    x, y = ours.inputs["x"][:, :, 0], ours.inputs["y"]
    sizes: dict[str, Any] = {
        "num_attention_heads": ours.model.num_heads,
        "attention_head_dim": ours.model.hidden_size // ours.model.num_heads,
        "in_channels": ours.model.in_channels,
        "out_channels": ours.model.out_channels,
        "num_layers": len(list(ours.model.get_submodule("blocks").children())),
        "patch_size": ours.model.patch_size[1],
        "sample_size": x.shape[-1],
    }
    inputs: dict[str, Any] = {"hidden_states": x, "timestep": ours.inputs["timestep"]}
    model: Any
    if isinstance(ours.model.y_embedder, LabelEmbedder):
        classes = ours.model.y_embedder.num_classes
        model = DiTTransformer2DModel(**sizes, num_embeds_ada_norm=classes)
        inputs |= {"timestep": inputs["timestep"].long(), "class_labels": y}
    else:
        sized = _PEERS[kind.partition("-")[0]]
        model = PixArtTransformer2DModel(
            **sizes,
            cross_attention_dim=ours.model.hidden_size,
            caption_channels=y.shape[-1],
            use_additional_conditions=sized,
        )
        size = torch.stack((ours.inputs["height"], ours.inputs["width"]), dim=1) if sized else None
        ratio = ours.inputs["ar"][:, None] if sized else None
        inputs |= {
            "encoder_hidden_states": y[:, 0],
            "added_cond_kwargs": {"resolution": size, "aspect_ratio": ratio},
        }
    if settings.grad_checkpoint:
        model.enable_gradient_checkpointing()
    name = f"diffusers {type(model).__name__}"
    return Subject(name, model.train(), inputs, ours.tokens, model.compile_repeated_blocks)


def to_device(value: Any, device: torch.device) -> Any:
    """A tensor, or a dictionary of them, on a device."""
    if isinstance(value, dict):
        return {name: to_device(part, device) for name, part in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
