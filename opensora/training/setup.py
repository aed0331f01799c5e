"""Everything a run needs before its first step: data, model, optimizer, weights to start from."""

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opensora.acceleration.plugins import Engine, check_plugin
from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError
from opensora.core.registry import DATASETS, MODELS, SCHEDULERS, build_module
from opensora.core.seed import derive_seed
from opensora.datasets.latents import LatentDataset
from opensora.datasets.masks import MaskGenerator
from opensora.training.config import TrainConfig
from opensora.training.ema import Ema
from opensora.training.metrics import MetricsLog, open_wandb
from opensora.training.optimizer import LrSchedule, build_optimizer
from opensora.training.resume import find_resumable, recipe_hash, start_from
from opensora.training.state import Counters


@dataclass
class Run:
    """A stage being trained.

    Attributes:
        config: its fields.
        workers: the processes that train it.
        dataset: micro batches by position in the plan.
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
    dataset: LatentDataset
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
    dataset: LatentDataset = build_module(config.dataset, DATASETS)
    model, model_config = build_model(config, dataset)
    scheduler = build_module(config.scheduler, SCHEDULERS)
    masks = MaskGenerator(config.mask_ratios) if config.mask_ratios else None
    # 2. where to start: a checkpoint of this run, the weights of an earlier one, or from scratch
    fresh = Counters(0, 0, dataset.plan.hash, recipe_hash(config, dataset, model_config))
    checkpoint = find_resumable(config, workers, fresh, len(dataset))
    if checkpoint is not None:
        model.load_state_dict(checkpoint.model)
    elif config.load is not None:
        start_from(model, Path(config.load), dataset)
    counters = fresh if checkpoint is None else replace(checkpoint.counters, finished=False)
    total_steps = count_steps(config, len(dataset), counters, workers.world_size)
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
        engine.optimizer.load_state_dict(checkpoint.optimizer)
        if ema is not None:
            ema.load_state_dict(checkpoint.ema)
    engine.model.train()
    return Run(
        config=config,
        workers=workers,
        dataset=dataset,
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


def build_model(config: TrainConfig, dataset: LatentDataset) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model for the channels and the text width of the stores.

    Returns:
        The model, with seeded weights, and the config that rebuilds it without the stores.

    Raises:
        ConfigError: a keyword is unknown, or contradicts the stores.
    """
    sizes = {
        "in_channels": dataset.latent_channels,
        "caption_channels": dataset.text_dim,
        "model_max_length": dataset.max_length,
    }
    for name, size in sizes.items():
        asked = config.model.get(name, size)
        if asked != size:
            raise ConfigError(
                f"model.{name} is {asked} and the stores hold {size}; leave the field out"
            )
    torch.manual_seed(derive_seed(config.seed, "weights"))
    try:
        model: nn.Module = build_module(config.model, MODELS, **sizes)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    if config.grad_checkpoint:
        model.set_grad_checkpoint()  # type: ignore[operator]
    accepted = inspect.signature(type(model)).parameters
    resolved = {**config.model, **{k: v for k, v in sizes.items() if k in accepted}}
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
