"""From a manifest and a training config to the batch plan of one stage."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import pandas as pd

from opensora.buckets.bucket import (
    DEFAULT_PATCH_SIZE,
    DEFAULT_VAE_STRIDE,
    PATCH_SIZES,
    Size3,
    TokenGrid,
    assign_buckets,
)
from opensora.buckets.bucket_config import BucketConfig, BucketRule, parse_bucket_config
from opensora.buckets.crop import check_max_crop
from opensora.config.groups import count_groups
from opensora.config.open_folder import read_patch
from opensora.config.sources import Rates
from opensora.core.errors import ConfigError, TableError
from opensora.core.seed import hash_ids
from opensora.core.text import counted
from opensora.plans.balance import COST, SampleCost, check_balance_mode
from opensora.plans.by_source import describe_sources, sources_of
from opensora.plans.compile import compile_plan
from opensora.plans.items import trained_pairs
from opensora.plans.left_out import left_out
from opensora.plans.mix import SourceMix
from opensora.plans.summary import summarize_plan
from opensora.tables.checks import TRAIN
from opensora.tables.columns import ID, MANIFEST, SOURCE_NAME

log = logging.getLogger(__name__)

_SPARE = 1.05  # batches beyond num_steps where epochs have them: some clips may not be readable


class TrainingPlan(NamedTuple):
    """What `plan_training` makes: the plan, its summary, and the settings stored with it.

    Attributes:
        plan: as `compile_plan` returns it.
        summary: see `summarize_plan`.
        settings: seed, frame_interval, balance, drop_last, num_steps.
        assignments: the tables it was compiled from.
        rules: the parsed bucket config.
        rates: of sources that do not count alike.
    """

    plan: pd.DataFrame
    summary: dict[str, Any]
    settings: dict[str, Any]
    assignments: Sequence[pd.DataFrame]
    rules: list[BucketRule]
    rates: Rates

    def left_out(self) -> pd.DataFrame:
        """Columns id and reason of the training clips that no epoch has."""
        drop_last = self.settings["drop_last"]
        settings = {"drop_last": drop_last, "is_mixed": bool(self.rates)}
        return left_out(self.assignments, self.plan, self.rules, **settings)

    def pairs(self) -> pd.DataFrame:
        """Columns id and bucket of what is to be encoded, see `trained_pairs`."""
        epochs, drop_last = self.plan.attrs["compiled_epochs"], self.settings["drop_last"]
        return trained_pairs(self.assignments, self.rules, epochs=epochs, drop_last=drop_last)


def bucket_config_of(config: Mapping[str, Any]) -> BucketConfig:
    """Return the bucket_config of a training config.

    A config without one that names `num_frames`, `image_size` (height, width) and `batch_size`,
    at its top level or in `dataset`, means the single bucket of exactly that size. Beside a
    bucket_config `batch_size` has no effect, as in the reference, whose configs have it there.

    Raises:
        ConfigError: neither form is complete, or both are there.
    """
    fixed = {name: field_of(config, name) for name in ("num_frames", "image_size", "batch_size")}
    size = fixed["image_size"]
    if isinstance(size, list | tuple) and all(side is None for side in size):
        fixed["image_size"] = size = None  # how the reference writes "any size"
    if config.get("bucket_config"):
        for name in ("num_frames", "image_size"):
            if fixed[name] is not None:
                raise ConfigError(
                    f"bucket_config and {name} are both set; the size of a batch comes from one:"
                    f" set {name} to None, or remove bucket_config"
                )
        buckets: BucketConfig = config["bucket_config"]
        return buckets
    missing = [name for name, value in fixed.items() if value is None]
    if missing:
        raise ConfigError(
            "the config has no bucket_config; expected {resolution: {frames: (p, n)}}, or"
            f" num_frames, image_size and batch_size for one fixed size ({missing[0]} is missing)"
        )
    if not _is_size(size):
        raise ConfigError(f"image_size is {size!r}; expected (height, width) in pixels")
    return {f"{size[0]}x{size[1]}": {fixed["num_frames"]: (1.0, fixed["batch_size"])}}


def frame_interval_of(config: Mapping[str, Any]) -> int:
    """Return how many source frames one used frame stands for; 1 where the config says nothing."""
    value = field_of(config, "frame_interval")
    if value is None:
        return 1
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"frame_interval is {value!r}; expected a whole number of at least 1")
    return value


def field_of(config: Mapping[str, Any], name: str) -> Any:
    """Return a field of the data set, which may stand at the top level or in `dataset`; or None.

    Raises:
        ConfigError: it stands in both places with different values.
    """
    top, inner = config.get(name), (config.get("dataset") or {}).get(name)
    if top is not None and inner is not None and top != inner:
        raise ConfigError(f"{name} is {top!r} and dataset.{name} is {inner!r}; keep one of the two")
    return inner if top is None else top


def _is_size(size: Any) -> bool:
    return (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(isinstance(side, int) and side > 0 for side in size)
    )


def training_clips(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return id, num_frames, height and width of the clips to train on.

    Where the manifest has a column `split`, only rows of "train" are used. Scores without a value
    are only warned about: buckets do not look at them.

    Raises:
        TableError: no clip is there, or none of the split "train".
    """
    scores = manifest.drop(columns=list(MANIFEST.columns), errors="ignore")
    for name, values in scores.select_dtypes("number").items():
        missing = values.isna()
        if SOURCE_NAME in manifest:  # sources of ready clips have other columns
            missing &= values.notna().groupby(manifest[SOURCE_NAME]).transform("any")
        if missing.any():
            row = int(missing.to_numpy().argmax())
            log.warning(
                "manifest: %s has no value in %s, the first is row %d (id %r); buckets do not"
                " use it, filter it in build-manifest if such clips are not wanted",
                *(name, counted(int(missing.sum()), "row"), row + 1, manifest[ID].iloc[row]),
            )
    clips = manifest[[ID, "num_frames", "height", "width"]]
    if "split" in manifest:
        clips = clips[(manifest["split"] == TRAIN).to_numpy()]
    if clips.empty:
        raise TableError(_nothing_to_train_on(manifest))
    return clips.reset_index(drop=True)


def _nothing_to_train_on(manifest: pd.DataFrame) -> str:
    """Name the step that left no clip for training; sizes have no part in it."""
    if manifest.empty:
        return "manifest: it holds no clip; look at the reasons in rejected and funnel"
    sides = manifest["split"].value_counts()
    found = ", ".join(f"{side} {count}" for side, count in sides.items())
    return (
        f"manifest: none of {len(manifest)} clips is of split {TRAIN!r} ({found}); the step that"
        " made the manifest drew or took over its column split: set validation_fraction and"
        " test_fraction to 0, add source videos, or correct the column"
    )


def token_grid(
    config: Mapping[str, Any], vae_stride: Size3 = DEFAULT_VAE_STRIDE, chunk: int | None = None
) -> TokenGrid:
    """Return how many tokens a sample is for the model of a config, without building it.

    Where the config does not say, the folder of an open model does, or the end of the model's type:
    XL/2 or XL/2x2.
    """
    model = config.get("model") or {}
    named = PATCH_SIZES.get(str(model.get("type", "")).rpartition("/")[2], DEFAULT_PATCH_SIZE)
    t, h, w = model.get("patch_size") or read_patch(model) or named
    return TokenGrid(vae_stride, (t, h, w), chunk)


class EpochAssignments(Sequence[pd.DataFrame]):
    """The ASSIGNMENT table of every epoch, made when it is asked for.

    Without a random draw all epochs have the same one.

    Args:
        clips: id, num_frames, height, width.
        config: of training.
    """

    def __init__(self, clips: pd.DataFrame, config: Mapping[str, Any]) -> None:
        self._clips = clips
        self._buckets = bucket_config_of(config)
        self._seed, epochs = int(config.get("seed", 42)), config.get("epochs", 1)
        if not isinstance(epochs, int) or epochs < 1:
            raise ConfigError(f"epochs is {epochs!r}; expected a whole number of at least 1")
        self._interval = frame_interval_of(config)
        self._max_crop = check_max_crop(config.get("max_crop"))
        is_random = any(rule.is_random for rule in parse_bucket_config(self._buckets))
        self._length = epochs if is_random else 1
        self._hashes = hash_ids(clips[ID]) if is_random else None
        self._first: pd.DataFrame | None = None

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, epoch: int) -> pd.DataFrame: ...
    @overload
    def __getitem__(self, epoch: slice) -> Sequence[pd.DataFrame]: ...
    def __getitem__(self, epoch: int | slice) -> pd.DataFrame | Sequence[pd.DataFrame]:
        """Assign the clips for one epoch; the first one is kept."""
        if isinstance(epoch, slice):
            return [self[index] for index in range(*epoch.indices(self._length))]
        if not 0 <= epoch < self._length:
            raise IndexError(f"epoch {epoch} outside 0..{self._length - 1}")
        if epoch == 0 and self._first is not None:
            return self._first
        table = assign_buckets(
            self._clips,
            self._buckets,
            seed=self._seed,
            epoch=epoch,
            frame_interval=self._interval,
            max_crop=self._max_crop,
            hashes=self._hashes,
        )
        if epoch == 0:
            self._first = table
        return table


def plan_training(
    manifest: pd.DataFrame,
    config: Mapping[str, Any],
    *,
    world_size: int = 1,
    vae_stride: Size3 = DEFAULT_VAE_STRIDE,
    frame_chunk: int | None = None,
    sample_cost: SampleCost | None = None,
    rates: Rates | None = None,
) -> TrainingPlan:
    """Assign buckets for every epoch and compile the plan.

    Args:
        manifest: clips; where it has a column `split`, only rows of "train" are used.
        config: bucket_config or a fixed size, epochs, seed, frame_interval, model.patch_size,
            num_steps, accumulate, balance, drop_last, max_crop, sp_size.
        world_size: processes that train; groups of `sp_size` of them are data-parallel ranks.
        vae_stride: pixels of one latent value, to count tokens.
        frame_chunk: frames that the autoencoder compresses together; None = all.
        sample_cost: what balances the steps where `balance` is "cost"; None counts tokens.
        rates: of the sources that the manifest's column `source_name` tells; None counts all alike.

    Raises:
        TableError: there are rates and the manifest names no sources.
        ConfigError: no bucket_config and no fixed size, no batch can be formed, all epochs have
            fewer steps than num_steps, or processes are left over by sp_size.
    """
    world_size = count_groups(world_size, config.get("sp_size", 1))
    seed, epochs = int(config.get("seed", 42)), config.get("epochs", 1)
    balance, drop_last = check_balance_mode(config.get("balance")), config.get("drop_last", True)
    if not isinstance(drop_last, bool):
        raise ConfigError(f"drop_last is {drop_last!r}; expected True or False")
    buckets, num_steps = bucket_config_of(config), config.get("num_steps")
    accumulate, clips = check_accumulate(config.get("accumulate", 1)), training_clips(manifest)
    assignments = EpochAssignments(clips, config)
    grid = token_grid(config, vae_stride, frame_chunk)
    sources = sources_of(manifest, clips)
    plan = compile_plan(
        assignments,
        buckets,
        seed=seed,
        epochs=epochs,
        world_size=world_size,
        accumulate=accumulate,
        drop_last=drop_last,
        sample_cost=(sample_cost or grid.tokens) if balance == COST else None,
        max_batches=math.ceil(_SPARE * num_steps * world_size * accumulate) if num_steps else None,
        mix=_mix_of(sources, rates),
    )
    if num_steps:
        require_steps(
            num_steps, len(plan), epochs=epochs, world_size=world_size, accumulate=accumulate
        )
    described, is_mixed = (clips, assignments[0], plan, buckets), bool(rates)
    summary = summarize_plan(*described, grid=grid, drop_last=drop_last, is_mixed=is_mixed)
    _complete(summary, config, plan, sources, rates)
    settings = {"seed": seed, "frame_interval": frame_interval_of(config), "balance": balance}
    settings |= {"drop_last": drop_last, "num_steps": num_steps}
    rules = parse_bucket_config(buckets)
    return TrainingPlan(plan, summary, settings, assignments, rules, rates or {})


def _complete(
    summary: dict[str, Any],
    config: Mapping[str, Any],
    plan: pd.DataFrame,
    sources: np.ndarray | None,
    rates: Rates | None,
) -> None:
    """Add what the sources are, and what of the config has no effect."""
    if sources is not None:
        summary["sources"] = describe_sources(sources, plan, rates or {})
    if config.get("bucket_config") and field_of(config, "batch_size") is not None:
        summary["warnings"].append("batch_size has no effect: bucket_config says it per bucket")


def _mix_of(sources: np.ndarray | None, rates: Rates | None) -> SourceMix | None:
    if not rates:
        return None
    if sources is None:
        raise TableError(
            f"manifest: it has no column {SOURCE_NAME!r}, by which --sources tells its clips apart;"
            " leave --sources out, or give a manifest of a run with `sources`"
        )
    return SourceMix(sources, rates)


def check_accumulate(value: Any) -> int:
    """Return the micro batches of a step on each process.

    Raises:
        ConfigError: no whole number of at least 1.
    """
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"accumulate is {value!r}; expected a whole number of at least 1")
    return value


def require_steps(
    num_steps: int, batches: int, *, epochs: int, world_size: int, accumulate: int = 1
) -> None:
    """Refuse a plan that ends before the steps that are wanted.

    Raises:
        ConfigError: names both numbers and the epochs that are needed.
    """
    entries = world_size * accumulate
    steps = batches // entries
    if steps < num_steps:
        needed = -(-num_steps * entries * epochs // max(batches, 1))
        each = f" with {accumulate} micro batches each" if accumulate > 1 else ""
        raise ConfigError(
            f"num_steps is {num_steps} and {epochs} epochs of the plan hold {steps} steps of"
            f" {world_size} processes{each}: set epochs to {needed}, or num_steps to {steps} or"
            " less"
        )
