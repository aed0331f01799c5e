"""Everything a run needs before its first step: data, model, optimizer, weights to start from."""

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opensora.acceleration.plugins import Engine, check_plugin
from opensora.acceleration.workers import Workers
from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.datasets.masks import MaskGenerator
from opensora.training.config import TrainConfig
from opensora.training.ema import Ema
from opensora.training.metrics import MetricsLog, open_wandb
from opensora.training.optimizer import LrSchedule, build_optimizer
from opensora.training.replay import settle_plan
from opensora.training.resume import find_resumable, recipe_hash, start_from
from opensora.training.sources import Source, open_source
from opensora.training.state import Counters


@dataclass
class Run:
    """A stage being trained.

    Attributes:
        config: its fields.
        workers: the processes that train it.
        source: micro batches by position in the plan.
        model_config: type and all keywords that rebuild the model.
        scheduler: computes the losses.
        masks: chooses the frames that stay clean; None never does.
        engine: the model and its optimizer.
        schedule: the course of the learning rate.
        total_steps: steps after which the run is finished.
        counters: where it stands.
        ema: averaged weights, on the main worker only.
        metrics: metrics.jsonl, on the main worker only.
    """

    config: TrainConfig
    workers: Workers
    source: Source
    model_config: dict[str, Any]
    scheduler: Any
    masks: MaskGenerator | None
    engine: Engine
    schedule: LrSchedule
    total_steps: int
    counters: Counters
    ema: Ema | None
    metrics: MetricsLog | None


def prepare(config: TrainConfig, workers: Workers) -> Run:
    """Build a run and bring it to where its newest checkpoint stands.

    Raises:
        ConfigError: something can not be built as configured.
        StoreError: the stores do not hold what the plan asks for.
        CheckpointError: the checkpoints belong to another run, or `load` to another model.
    """
    check_plugin(config.plugin, workers.device)
    # 1. data, model and scheduler
    source = open_source(config, workers, settle_plan(config, workers))
    model, model_config = build_model(config, source)
    scheduler = build_module(config.scheduler, SCHEDULERS)
    masks = MaskGenerator(config.mask_ratios) if config.mask_ratios else None
    # 2. where to start: a checkpoint of this run, the weights of an earlier one, or from scratch
    fresh = Counters(0, 0, source.plan.hash, recipe_hash(config, source, model_config))
    checkpoint = find_resumable(config, workers, fresh, source.plan)
    if checkpoint is not None:
        model.load_state_dict(checkpoint.model)
    elif config.load is not None:
        start_from(model, Path(config.load), source)
    counters = fresh
    if checkpoint is not None:  # the plan may have been continued with new clips
        counters = replace(checkpoint.counters, finished=False, plan_hash=fresh.plan_hash)
    total_steps = count_steps(config, len(source.plan), counters, workers.world_size)
    # 3. optimizer and plugin
    model.to(workers.device)
    optimizer = build_optimizer(model, config.optimizer, lr=config.lr, plugin=config.plugin)
    ema = Ema(model, config.ema_decay) if workers.is_main else None
    engine = Engine(
        model,
        optimizer,
        plugin=config.plugin,
        dtype=config.dtype,
        grad_clip=config.grad_clip,
        workers=workers,
    )
    if checkpoint is not None:
        engine.load_state_dict(checkpoint.optimizer)
        if ema is not None:
            ema.load_state_dict(checkpoint.ema)
    engine.model.train()
    return Run(
        config=config,
        workers=workers,
        source=source,
        model_config=model_config,
        scheduler=scheduler,
        masks=masks,
        engine=engine,
        schedule=LrSchedule(config.warmup_steps, config.lr_decay, total_steps),
        total_steps=total_steps,
        counters=counters,
        ema=ema,
        metrics=_open_metrics(config, counters) if workers.is_main else None,
    )


def build_model(config: TrainConfig, source: Source) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model for the channels and the text width of the encoders.

    A model that stores position tables gets those of the latents, where all have one size.

    Returns:
        The model, with seeded weights or those of `model.from_pretrained`, and the config that
        rebuilds it without the data.

    Raises:
        ConfigError: a keyword is unknown, or contradicts the encoders.
        CheckpointError: `model.from_pretrained` is missing or belongs to another model.
    """
    sizes: dict[str, Any] = {
        "in_channels": source.latent_channels,
        "caption_channels": source.text_dim,
        "model_max_length": source.max_length,
    }
    for name, size in sizes.items():
        asked = config.model.get(name, size)
        if asked != size:
            raise ConfigError(
                f"model.{name} is {asked} and the encoders give {size}; leave the field out"
            )
    if source.latent_size is not None:
        sizes["input_size"] = source.latent_size
    torch.manual_seed(derive_seed(config.seed, "weights"))
    try:
        model: nn.Module = build_module(config.model, MODELS, **sizes)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    if config.grad_checkpoint:
        model.set_grad_checkpoint()  # type: ignore[operator]
    accepted = inspect.signature(type(model)).parameters
    resolved = {**{k: v for k, v in sizes.items() if k in accepted}, **config.model}
    resolved.pop("from_pretrained", None)  # the results hold the weights themselves
    return model, resolved


def count_steps(config: TrainConfig, num_micro_batches: int, done: Counters, world: int) -> int:
    """Optimizer steps after which the run is finished.

    Raises:
        ConfigError: the plan holds less than one step for all workers.
    """
    steps = done.step + (num_micro_batches - done.micro_batches) // world
    if steps == 0:
        raise ConfigError(
            f"dataset.plan holds {num_micro_batches} micro batches, fewer than the {world} workers;"
            " use fewer processes, or smaller batches in bucket_config"
        )
    return min(steps, config.num_steps or steps)


def _open_metrics(config: TrainConfig, counters: Counters) -> MetricsLog:
    folder = config.state_folder
    return MetricsLog(
        folder / "metrics.jsonl",
        step=counters.step,
        loss_ema=counters.loss_ema,
        send=open_wandb(vars(config), folder) if config.wandb else None,
    )
