"""Fields of training and inference configs: what exists, and other names for the same field."""

from collections.abc import Sequence
from typing import Any, Literal

from opensora.core.errors import ConfigError

ConfigKind = Literal["train", "inference"]

INFERENCE_FIELDS = frozenset(
    [
        *("num_frames", "frame_interval", "fps", "image_size", "multi_resolution"),
        *("prompt_path", "prompt", "loop", "condition_frame_length"),
        *("mask_strategy", "reference_path"),
        *("model", "vae", "text_encoder", "scheduler"),
        *("dtype", "batch_size", "seed", "save_dir"),
    ]
)

# fields of version 1.0 training configs that stand in `dataset` since 1.1
DATASET_FIELDS = (
    *("data_path", "root", "num_frames", "frame_interval", "image_size", "transform_name"),
)

# old name of a model keyword -> the one that every model takes
MODEL_SPELLINGS = {"enable_flashattn": "enable_flash_attn"}

# short command-line name -> field
_ALIASES = {
    "ckpt_path": "model.from_pretrained",
    "num_sampling_steps": "scheduler.num_sampling_steps",
    "cfg_scale": "scheduler.cfg_scale",
    "ckpt": "model.from_pretrained",
    "flash_attn": "model.enable_flash_attn",
    "layernorm_kernel": "model.enable_layernorm_kernel",
    **{f"model.{old}": f"model.{new}" for old, new in MODEL_SPELLINGS.items()},
}
_ALIASES_OF_KIND: dict[ConfigKind, dict[str, str]] = {
    "train": {name: f"dataset.{name}" for name in DATASET_FIELDS},
    "inference": {
        "num_sample": "num_samples",
        "num_inference_steps": "scheduler.num_sampling_steps",
        "guidance_scale": "scheduler.cfg_scale",
    },
}
_WEIGHTS = (
    "model",
    "vae",
    "text_encoder",
    "image_encoder",
)  # a plain value means where their weights are


def aliases(kind: ConfigKind | None) -> dict[str, str]:
    """Other names of fields on the command line: short name -> dotted field."""
    return {} if kind is None else {**_ALIASES, **_ALIASES_OF_KIND[kind]}


def expand_aliases(
    pairs: Sequence[tuple[str, Any]], kind: ConfigKind | None
) -> list[tuple[str, Any]]:
    """Replace short names of command-line overrides by the fields they set.

    `ckpt_path` is `model.from_pretrained`; `num_sampling_steps` and `cfg_scale` are the
    scheduler's; a plain value of `model` or an encoder is its `from_pretrained`; in
    training `data_path`, `root` and the clip size are the dataset's. Prompts given in one way
    clear those that the config file gives in the other.

    Args:
        pairs: (dotted name with underscores, value), as `parse_overrides` makes them.
        kind: what the config is for; None changes nothing.

    Raises:
        ConfigError: both `prompt` and `prompt_path`.
    """
    if kind is None:
        return list(pairs)
    known = aliases(kind)
    expanded: list[tuple[str, Any]] = []
    for name, value in pairs:
        if name in _WEIGHTS and isinstance(value, str):
            expanded.append((f"{name}.from_pretrained", value))
        else:
            expanded.append((known.get(name, name), value))
    if kind == "inference":
        given = {name for name, value in expanded if name in ("prompt", "prompt_path") and value}
        if len(given) == 2:
            raise ConfigError("--prompt and --prompt-path exclude each other; give one of them.")
        other = {"prompt": "prompt_path", "prompt_path": "prompt"}
        expanded = [(other[name], None) for name in given] + expanded
    return expanded
