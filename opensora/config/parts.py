"""Which fields of a config decide which result; all others say where, how fast and how often."""

from collections.abc import Mapping
from typing import Any

from opensora.config.open_folder import read_patch

# of a training config, what `assign-buckets` reads; the dataset may hold some of them too
PLAN_FIELDS = (
    *("bucket_config", "num_frames", "image_size", "batch_size", "frame_interval"),
    *("epochs", "seed", "num_steps", "accumulate", "balance", "drop_last", "max_crop"),
)
# of a training config, what decides the weights and metrics.jsonl, besides plan and stores
TRAINING_FIELDS = (
    *("model", "scheduler", "mask_ratios", "seed", "load", "num_steps", "until", "log_every"),
    *("optimizer", "lr", "warmup_steps", "lr_decay", "ema_decay", "grad_clip", "dtype", "plugin"),
    *("accumulate", "lora", "eval_every", "compile", "max_broken_steps"),
    *("residual_dtype", "reduce_dtype"),
)
# what training reads besides, if it encodes as it goes
ONLINE_FIELDS = ("vae", "text_encoder", "posterior")
_BALANCE_BY_COST = "cost"
_USUAL_PATCH = (1, 2, 2)
_NOT_COUNTED = ("from_pretrained", "enable_flash_attn", "enable_layernorm_kernel")
# paths that the workflow gives to the command, or machine settings of an encoder
_PLACES = ("latents", "embeddings", "plan", "validation", "data_path")
_MACHINE = ("from_pretrained", "micro_batch_size", "local_files_only", "shardformer")
# of a sampling config, what the workflow gives instead
_GIVEN_TO_SAMPLE = ("prompt", "prompt_path", "num_samples", "save_dir", "seed")


def plan_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a resolved training config that decide the batch plan.

    Of the model its patch size and type, which count tokens; all of it where steps are balanced by
    its cost.
    """
    found = {name: config[name] for name in PLAN_FIELDS if config.get(name) is not None}
    if (sp_size := config.get("sp_size", 1)) != 1:  # so many processes count as one
        found["sp_size"] = sp_size
    dataset, model = config.get("dataset") or {}, config.get("model") or {}
    if inner := {name: dataset[name] for name in PLAN_FIELDS if dataset.get(name) is not None}:
        found["dataset"] = inner
    if config.get("balance") == _BALANCE_BY_COST:
        found["model"] = _without(model, _NOT_COUNTED)
        if length := (config.get("text_encoder") or {}).get("model_max_length"):
            found["text_encoder"] = {"model_max_length": length}
    else:
        found["model"] = {name: model[name] for name in ("type", "patch_size") if name in model}
        if (patch := read_patch(model)) not in (None, _USUAL_PATCH):  # tokens are told by it
            found["model"]["patch_size"] = list(patch)
    return found


def training_part(config: Mapping[str, Any], *, online: bool) -> dict[str, Any]:
    """The fields of a resolved training config that decide weights and metrics.

    Args:
        config: as resolved.
        online: whether clips and captions are encoded while training, with encoders and a data set
            that the config describes but for their places.
    """
    found = {name: config[name] for name in TRAINING_FIELDS if config.get(name) is not None}
    if online:
        found |= {name: config[name] for name in ONLINE_FIELDS if config.get(name) is not None}
        for name in ("vae", "text_encoder"):
            found[name] = _without(found.get(name) or {}, _MACHINE)
        found["dataset"] = _without(config.get("dataset") or {}, _PLACES)
    return found


def sampling_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a resolved sampling config that decide the samples of given prompts."""
    found = _without(config, _GIVEN_TO_SAMPLE)
    if found.get("model"):
        found["model"] = _without(found["model"], ("from_pretrained",))
    for name in ("vae", "text_encoder", "image_encoder"):
        if found.get(name):
            found[name] = _without(found[name], _MACHINE)
    return found


def _without(fields: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
