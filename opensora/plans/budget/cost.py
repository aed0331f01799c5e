"""What a sample of a bucket costs to train: floating-point operations by counting products.

Only matrix products and attention are counted, two operations per multiplication and addition, as
torch's FlopCounterMode does; everything else is less than 1 % of a model of normal width.

Axes: T token frames, S tokens of a frame, N = T * S, D channels, L text tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from opensora.buckets.bucket import Size3, TokenGrid
from opensora.config.registry import MODELS, build_module, check_fields
from opensora.core.errors import ConfigError
from opensora.models.layers.attention import Attention
from opensora.models.layers.embeddings import CaptionEmbedder
from opensora.models.layers.transformer import LayerCounts, VideoTransformer
from opensora.models.lora.adapters import add_adapters
from opensora.models.lora.settings import LoraSettings
from opensora.models.open.door import OPEN, describe, named_architecture
from opensora.models.open.family import OpenTransformer
from opensora.plans.balance import COST, SampleCost, check_balance_mode
from opensora.plans.budget.counted import CountedCost

BACKWARD = 2.0  # gradients of inputs and of weights: each as many products as the forward pass
RECOMPUTE = 1.0  # gradient checkpointing runs the forward pass once more
_FREQUENCIES = 256  # channels of a sinusoidal embedding
# fields that choose weights or kernels, which a count does not need
_OPEN_TEXT = 512  # tokens of a caption of an open model, where a config does not say
_IGNORED = frozenset({"from_pretrained", "enable_flash_attn", "enable_layernorm_kernel"})


@dataclass(frozen=True)
class ModelCost:
    """The widths of a model that decide its operations.

    Attributes:
        layers: how many of each kind.
        hidden_size: D.
        depth: blocks.
        mlp_size: channels between the two layers of an MLP.
        patch_size: latent frames, rows and columns of one token.
        in_channels: latent channels.
        out_features: values that the last layer predicts per token.
        caption_channels: width of the text embeddings; 0 where the condition is a label.
        text_tokens: L, the length to which captions are padded in training.
        parameters: trainable and frozen weights, adapters among them.
        normed_attentions: attentions that normalise their queries and keys.
        frozen: weights that are not trained, as tables and those below adapters.
        spared: share of the weights of linear layers among them.
    """

    layers: LayerCounts
    hidden_size: int
    depth: int
    mlp_size: int
    patch_size: Size3
    in_channels: int
    out_features: int
    caption_channels: int
    text_tokens: int
    parameters: int
    normed_attentions: int = 0
    frozen: int = 0
    spared: float = 0.0

    @classmethod
    def of(cls, config: Mapping[str, Any], **sizes: int) -> "ModelCost":
        """Read the widths of the model that a config names; no memory is taken for weights.

        Args:
            config: type and keywords of the model.
            **sizes: in_channels, caption_channels, model_max_length, where the config is silent.

        Raises:
            ConfigError: an unknown type or keyword, values that do not fit together, or a model
                that does not say how many layers it has.
        """
        return cls.of_model(_without_memory(config, sizes))

    @classmethod
    def of_model(cls, model: nn.Module) -> "ModelCost":
        """Read the widths of a built model.

        Raises:
            ConfigError: the model does not say how many layers it has.
        """
        if not isinstance(model, VideoTransformer):
            raise ConfigError(
                f"model: {type(model).__name__} is no diffusion transformer whose operations can be"
                " counted; leave balance='cost', the forecast and the search of batch sizes out,"
                " or make it a VideoTransformer with layer_counts"
            )
        try:
            layers = model.layer_counts()
        except NotImplementedError as error:
            raise ConfigError(f"model: {error}, so its operations can not be counted") from error
        blocks: Any = model.all_blocks
        caption: Any = model.y_embedder
        has_text = isinstance(caption, CaptionEmbedder)
        return cls(
            layers=layers,
            hidden_size=model.hidden_size,
            depth=len(blocks),
            mlp_size=blocks[0].mlp.fc1.out_features,
            patch_size=model.patch_size,
            in_channels=model.in_channels,
            out_features=model.patch_features,
            caption_channels=caption.y_proj.fc1.in_features if has_text else 0,
            text_tokens=len(caption.y_embedding) if has_text else 0,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            normed_attentions=sum(
                isinstance(module, Attention) and module.qk_norm for module in model.modules()
            ),
            frozen=sum(p.numel() for p in model.parameters() if not p.requires_grad),
            spared=_share_frozen(model),
        )

    def forward_flops(self, grid: Size3) -> float:
        """Operations of the forward pass of one sample of (T, rows, columns) tokens."""
        frames, places = grid[0], grid[1] * grid[2]
        tokens, width = frames * places, self.hidden_size
        patch = self.in_channels * math.prod(self.patch_size)
        ends = 2 * tokens * width * (patch + self.out_features)
        captions = 2 * self.text_tokens * width * (self.caption_channels + width)
        return ends + captions + self._conditions() + self._blocks(frames, places)

    def training_flops(self, grid: Size3, *, grad_checkpoint: bool = False) -> float:
        """Operations of forward and backward pass of one sample: 3 times, or 4, the forward.

        Weights that are not trained need no gradient, one product less. The products of adapters,
        about a hundredth, are not counted.
        """
        passes = 1 + BACKWARD + (RECOMPUTE if grad_checkpoint else 0)
        forward = self.forward_flops(grid)
        return passes * forward - self.spared * (forward - self._scores(grid))

    def given_values(self, size: Size3) -> int:
        """Values stored of given frames beside a latent of (T, H, W): none, these read the clip."""
        return 0

    def sample_cost(self, grid: TokenGrid) -> SampleCost:
        """Return a function: operations of the forward pass of one sample of a bucket."""
        return lambda bucket: self.forward_flops(grid.token_grid(bucket))

    def _conditions(self) -> float:
        """Embeddings of the timestep and of sizes, and what they modulate, once per sample."""
        width = self.hidden_size
        embedded = (width,) if self.layers.embedded is None else self.layers.embedded
        # two linear layers each
        embeddings = sum(2 * channels * (_FREQUENCIES + channels) for channels in embedded)
        return embeddings + 2 * width * width * self.layers.modulations

    def _blocks(self, frames: int, places: int) -> float:
        """All blocks of one sample."""
        tokens, width, text = frames * places, self.hidden_size, self.text_tokens
        layers = self.layers
        mlp = 4 * tokens * width * self.mlp_size
        linear = 8 * tokens * width**2  # q, k, v and the output
        cross = 4 * (tokens + text) * width**2
        return (
            (layers.in_frame + layers.along_time + layers.joint) * linear
            + layers.cross * cross
            + self.depth * mlp
            + self._scores((frames, places, 1))
        )

    def _scores(self, grid: Size3) -> float:
        """Scores of all attentions of one sample, and the sums over values: no weights in them."""
        frames, places = grid[0], grid[1] * grid[2]
        tokens, width, layers = frames * places, self.hidden_size, self.layers
        self_attention = (
            layers.in_frame * frames * places**2 + layers.along_time * places * frames**2
        )
        others = layers.joint * tokens**2 + layers.cross * tokens * self.text_tokens
        return 4.0 * width * (self_attention + others)


Cost = ModelCost | CountedCost


def model_cost(config: Mapping[str, Any]) -> Cost:
    """Read the widths of a training config's model, with the adapters that `lora` gives it.

    Raises:
        ConfigError: the config names no model, or one that can not be built, or `lora` names parts
            that it does not have.
        CheckpointError: an open model whose folder is not there.
    """
    if not config.get("model"):
        raise ConfigError("the config has no model; expected model = dict(type=...)")
    model = _without_memory(config["model"], text_sizes(config))
    if config.get("lora") is not None:
        add_adapters(model, LoraSettings.of(config["lora"]), seed=0)
    if isinstance(model, OpenTransformer):
        return CountedCost(model, text_sizes(config).get("model_max_length", _OPEN_TEXT))
    return ModelCost.of_model(model)


def live_cost(model: nn.Module, text_tokens: int | None, lora: Mapping[str, Any] | None) -> Cost:
    """Read the widths of a model that is trained; an open one is counted beside itself.

    Args:
        model: with its adapters.
        text_tokens: length to which captions are padded; None = the usual one.
        lora: settings of its adapters.

    Raises:
        ConfigError: the model does not say how many layers it has.
    """
    if not isinstance(model, OpenTransformer):
        return ModelCost.of_model(model)
    length = {} if text_tokens is None else {"model_max_length": text_tokens}
    return model_cost(
        {"model": {"type": OPEN, **describe(model)}, "text_encoder": length, "lora": lora}
    )


def _share_frozen(model: nn.Module) -> float:
    """Share of the weights of a model's linear layers that is not trained."""
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    frozen = sum(weight.numel() for weight in weights if not weight.requires_grad)
    return frozen / sum(weight.numel() for weight in weights)


def _without_memory(config: Mapping[str, Any], sizes: Mapping[str, int]) -> nn.Module:
    """The model that a config names; no memory is taken for weights.

    Raises:
        ConfigError: an unknown type or keyword, or values that do not fit together.
    """
    check_fields(config, MODELS)
    fields = {name: value for name, value in config.items() if name not in _IGNORED}
    if config.get("type") == OPEN:
        fields, sizes = {"type": OPEN, "architecture": named_architecture(**config)}, {}
    try:
        with torch.device("meta"):
            model: nn.Module = build_module(fields, MODELS, **sizes)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    return model


def text_sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the length of captions that a training config gives its text encoder, if it does."""
    length = (config.get("text_encoder") or {}).get("model_max_length")
    return {} if length is None else {"model_max_length": int(length)}


def sample_cost_of(
    config: Mapping[str, Any], vae_stride: Size3, chunk: int | None = None
) -> SampleCost | None:
    """Return what balances the plan of a training config; None where it is not balanced."""
    if check_balance_mode(config.get("balance")) != COST:
        return None
    cost = model_cost(config)
    return cost.sample_cost(TokenGrid(vae_stride, cost.patch_size, chunk))
