"""Everything a run needs before its first step: data, model, optimizer, weights to start from."""

import inspect
import logging
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opensora.acceleration.optimizer import LrSchedule, build_optimizer
from opensora.acceleration.plugins import Engine, check_plugin
from opensora.acceleration.sequence import share_videos
from opensora.acceleration.workers import Workers
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.lock import RunLock
from opensora.core.seed import derive_seed
from opensora.datasets.masks import MaskGenerator
from opensora.models.build import takes_frame_mask, use_grad_checkpoint
from opensora.models.open.band_scheduler import scheduler_of
from opensora.models.open.door import describe
from opensora.models.open.family import OpenTransformer
from opensora.plans.compile import BatchPlan
from opensora.stores.keys import LABELS
from opensora.training.checkpoint import (
    EMA,
    Checkpoint,
    Counters,
    clean_state,
    newest_checkpoint,
    read_checkpoint,
    remove_checkpoints,
)
from opensora.training.config import TrainConfig
from opensora.training.data import BatchSource, open_source
from opensora.training.device.compiled import compile_model
from opensora.training.ema import Ema
from opensora.training.kernels import settle_kernels
from opensora.training.load import (
    checkpoint_to_load,
    continue_from,
    encoder_identities,
    load_weights,
    restore,
    start_from,
)
from opensora.training.lora import TrainedAdapters, start_adapters
from opensora.training.narrow import narrow_residual
from opensora.training.plan import SOURCE, choose_plan, continues_plan
from opensora.training.recipe import recipe_hash
from opensora.training.rejects import FILE as REJECTED
from opensora.training.rejects import RejectedClips
from opensora.training.watched.losses import LossSums
from opensora.training.watched.metrics import MetricsLog, open_metrics

log = logging.getLogger(__name__)


@dataclass
class TrainingRun:
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
        total_steps: steps of the whole stage.
        counters: where it stands.
        ema: averaged weights, on the main worker, or a part of them on each where they are split.
        adapters: what is trained instead of the whole model; None where it is that.
        metrics: metrics.jsonl, on the main worker only.
        rejected: unreadable clips; None where none are met while training.
        lock: on the folder of the checkpoints, on the main worker only.
        losses: of single clips since the last line of metrics.
    """

    config: TrainConfig
    workers: Workers
    source: BatchSource
    model_config: dict[str, Any]
    scheduler: Any
    masks: MaskGenerator | None
    engine: Engine
    schedule: LrSchedule
    total_steps: int
    counters: Counters
    ema: Ema | None
    adapters: TrainedAdapters | None
    metrics: MetricsLog | None
    rejected: RejectedClips | None
    lock: RunLock | None = None
    losses: LossSums = field(default_factory=LossSums)

    def __post_init__(self) -> None:
        """Go on from the sums that the checkpoint has."""
        if self.workers.is_main:
            self.losses.carry(self.counters.loss_sums)

    @property
    def last_step(self) -> int:
        """Step after which this run is finished; in a part of a stage before the last one."""
        return self.config.until or self.total_steps


Given = tuple[BatchSource, nn.Module]  # data and a model, where they are there already


def prepare_run(config: TrainConfig, workers: Workers, given: Given | None = None) -> TrainingRun:
    """Build a run and bring it to where its newest checkpoint stands.

    Raises:
        ConfigError: something can not be built as configured.
        StoreError: the stores do not hold what the plan asks for.
        CheckpointError: no checkpoint of this run is sound, or `load` is of another model.
    """
    check_plugin(config.plugin, workers.device)
    # 1. data, model and scheduler
    workers.first(lambda: clean_state(config.state_folder))
    loaded = workers.first(lambda: checkpoint_to_load(config.load))
    source = given[0] if given else _open_planned(config, workers, loaded)
    model, model_config = (
        (given[1], config.model) if given else build_model(config, source, workers.device)
    )
    masks = mask_generator(config, model)
    # 2. where to start: a checkpoint of this run, the weights of an earlier one, or from scratch
    recipe = recipe_hash(config, source, model_config, loaded)
    fresh = Counters(0, 0, source.plan.hash, recipe, encoders=encoder_identities(source))
    checkpoint = find_resumable(config, workers, fresh, source.plan)
    if checkpoint is None and loaded is not None:
        checkpoint = continue_from(loaded, config, workers, source.plan, fresh)
    adapters = _start_weights(model, config, source, workers, checkpoint, loaded)
    counters = _counters(checkpoint, fresh, adapters)
    total_steps = count_steps(config, len(source.plan), counters, workers.num_groups)
    # 3. kernels, optimizer and plugin
    settle_kernels(model, config, workers)
    narrow_residual(model, config, workers)
    share_videos(compile_model(model.to(workers.device), config, workers, source.plan), workers)
    optimizer = build_optimizer(model, config.optimizer, lr=config.lr)
    names = ("plugin", "dtype", "grad_clip", "reduce_dtype")
    fields: dict[str, Any] = {name: getattr(config, name) for name in names}
    engine = Engine(model, optimizer, workers=workers, **fields)
    has_average = workers.is_main or engine.splits_moments
    ema = Ema(engine.trained.live, config.ema_decay) if has_average else None
    if checkpoint is not None:
        average = checkpoint.ema if adapters is None else adapters.live(checkpoint.ema)
        restore(engine, ema, checkpoint, average)
    engine.model.train()
    return TrainingRun(
        config=config,
        workers=workers,
        source=source,
        model_config=model_config,
        scheduler=scheduler_of(model, config.scheduler),
        masks=masks,
        engine=engine,
        schedule=LrSchedule(config.warmup_steps, config.lr_decay, total_steps),
        total_steps=total_steps,
        counters=counters,
        ema=ema,
        adapters=adapters,
        metrics=open_metrics(config, counters, checkpoint) if workers.is_main else None,
        rejected=_open_rejected(config, source, workers, resumes=checkpoint is not None),
    )


def _open_planned(config: TrainConfig, workers: Workers, loaded: Path | None) -> BatchSource:
    return open_source(config, workers, choose_plan(config, workers, loaded))


def _start_weights(
    model: nn.Module,
    config: TrainConfig,
    source: BatchSource,
    workers: Workers,
    checkpoint: Checkpoint | None,
    loaded: Path | None,
) -> TrainedAdapters | None:
    """Give a model the weights of a checkpoint, or those of `load`; and adapters, if wanted."""
    if checkpoint is None and config.load is not None:
        start_from(model, Path(config.load), source)
    if config.lora is not None:
        return start_adapters(model, config, workers, checkpoint, loaded)
    if checkpoint is not None:
        load_weights(model, checkpoint.model)
    return None


def _counters(
    checkpoint: Checkpoint | None, fresh: Counters, adapters: TrainedAdapters | None
) -> Counters:
    """Where this run begins; its plan may go on from that of the checkpoint with new clips."""
    counters = fresh
    if checkpoint is not None:
        counters = replace(checkpoint.counters, finished=False, plan_hash=fresh.plan_hash)
    return replace(counters, base=adapters.base_sha256 if adapters else None)


def build_model(
    config: TrainConfig, source: BatchSource, device: torch.device
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model for the channels and the text width of the encoders.

    A model that stores position tables gets those of the latents, where all have one size. Seeded
    weights are drawn on the device: a GPU draws a billion of them at once, the host in a minute.

    Returns:
        The model, with seeded weights or those of `model.from_pretrained`, and the config that
        rebuilds it without the data.

    Raises:
        ConfigError: a keyword is unknown, or contradicts the encoders.
        CheckpointError: `model.from_pretrained` is missing or belongs to another model.
    """
    sizes: dict[str, Any] = {"in_channels": source.latent_channels, **_text_sizes(config, source)}
    for name, size in sizes.items():
        asked = config.model.get(name, size)
        if asked != size:
            raise ConfigError(
                f"model.{name} is {asked} and the encoders give {size}; leave the field out"
            )
    if len(source.latent_sizes) == 1:
        (sizes["input_size"],) = source.latent_sizes.values()
    torch.manual_seed(derive_seed(config.seed, "weights"))
    is_seeded = config.load is None and config.model.get("from_pretrained") is None
    try:
        with device if is_seeded else nullcontext():
            model: nn.Module = build_module(config.model, MODELS, **sizes)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    if isinstance(model, OpenTransformer):
        model.check_text_encoder(str(source.embedding_identity.get("type")))
        model.check_buckets(source.latent_sizes)
        if config.is_online:
            model.check_online()
        else:
            told = source.latent_identity
            model.check_given(told.get("given"), has_pictures="image_encoder" in told)
    if config.grad_checkpoint:
        use_grad_checkpoint(model)
    accepted = inspect.signature(type(model)).parameters
    resolved = {**{k: v for k, v in sizes.items() if k in accepted}, **config.model}
    resolved.pop("from_pretrained", None)  # the results hold the weights themselves
    if architecture := describe(model):
        resolved = {"type": config.model["type"], **architecture}
    return model, resolved


def _text_sizes(config: TrainConfig, source: BatchSource) -> dict[str, Any]:
    """Keywords of a model that reads the captions of a source; labels have no sizes.

    Raises:
        ConfigError: the config names another type of text encoder, or a model of labels meets
            captions, or one of captions labels.
    """
    identity = source.embedding_identity
    found = identity.get("type")
    asked = (config.text_encoder or {}).get("type", found)
    if asked != found:
        raise ConfigError(
            f"text_encoder.type is {asked!r} and the embeddings are those of {found!r}; encode"
            f" captions with --type {asked}, or leave text_encoder out of the config"
        )
    condition = str(config.model.get("condition", "text"))
    wanted = f"label_{identity['num_classes']}" if found == LABELS else "text"
    if condition != wanted and (found == LABELS or condition.startswith("label_")):
        raise ConfigError(
            f"model.condition is {condition!r} and the embeddings are those of {found!r}, which"
            f" take {wanted!r}; change one of the two"
        )
    if found == LABELS:
        return {}
    return {"caption_channels": source.text_dim, "model_max_length": source.max_length}


def mask_generator(config: TrainConfig, model: nn.Module) -> MaskGenerator | None:
    """What chooses the frames that stay clean; None where none do.

    Raises:
        ConfigError: the model can not be given clean frames.
    """
    if not config.mask_ratios:
        return None
    if not takes_frame_mask(model):
        raise ConfigError(
            f"mask_ratios: {type(model).__name__} can not be given clean frames (x_mask); leave"
            " mask_ratios out"
        )
    return MaskGenerator(config.mask_ratios)


def count_steps(config: TrainConfig, num_micro_batches: int, done: Counters, groups: int) -> int:
    """Optimizer steps after which the run is finished.

    Raises:
        ConfigError: the plan holds less than one step for all workers, or less than `num_steps`,
            or `until` is beyond the end.
    """
    steps = done.step + (num_micro_batches - done.micro_batches) // (groups * config.accumulate)
    who = f"{groups} workers" if config.sp_size == 1 else f"{groups} groups of {config.sp_size}"
    each = f" with {config.accumulate} each" if config.accumulate > 1 else ""
    if steps == 0:
        less = "accumulate less, " if each else ""
        raise ConfigError(
            f"dataset.plan holds {num_micro_batches} micro batches, fewer than the {who}{each};"
            f" {less}use fewer processes, or smaller batches in bucket_config"
        )
    if config.num_steps is not None and config.num_steps > steps:
        raise ConfigError(
            f"num_steps is {config.num_steps} and dataset.plan holds {num_micro_batches} micro"
            f" batches, {steps} steps of {who}{each}; make the plan again with more epochs and"
            f" this number of workers, or set num_steps to {steps} or less"
        )
    total = config.num_steps or steps
    if config.until is not None and config.until > total:
        raise ConfigError(
            f"until is {config.until} and the stage has {total} steps; end it at one of them, or"
            " leave until out"
        )
    return total


def _open_rejected(
    config: TrainConfig, source: BatchSource, workers: Workers, *, resumes: bool
) -> RejectedClips | None:
    if source.rejects is None:
        return None
    path = config.state_folder / REJECTED
    return RejectedClips(source.rejects, path, workers, resumes=resumes)


def find_resumable(
    config: TrainConfig, workers: Workers, fresh: Counters, plan: BatchPlan
) -> Checkpoint | None:
    """Read the newest checkpoint of this run, if there is one.

    Checkpoints that a finished run of another plan or recipe left behind are removed: its results
    are what is being made anew. Those of an unfinished run are never removed.

    Raises:
        CheckpointError: an unfinished run of another plan or recipe stands in the folder.
    """
    found = newest_checkpoint(config.state_folder)
    if found is None:
        return None
    folder, counters = found
    problem = None
    if not continues_plan(plan, counters):
        problem = f"of plan {counters.plan_hash[:8]} and this run has plan {fresh.plan_hash[:8]}"
    elif counters.recipe_hash != fresh.recipe_hash:
        problem = "of another recipe (model, scheduler, optimizer, seed, stores or loaded weights)"
    elif counters.step > (config.last_step or counters.step):
        problem = f"beyond step {config.last_step}, where this run ends"
    elif counters.micro_batches > len(plan):
        problem = f"beyond the {len(plan)} micro batches of the plan"
    if problem is None:
        log.info("resume step=%d folder=%s", counters.step, folder)
        return read_checkpoint(folder, counters)
    if counters.finished and plan.hash == plan.metadata.get(SOURCE, plan.hash):
        workers.gather(None)  # no worker may still be looking at what the next line removes
        if workers.is_main:
            remove_checkpoints(config.state_folder)
        log.info("start_afresh reason='the finished run in %s is %s'", config.state_folder, problem)
        return None
    kind = "a finished run whose data grew" if counters.finished else "an unfinished run"
    raise CheckpointError(
        f"{config.state_folder}: step {counters.step} of {kind} is {problem}; choose:"
        " bring the former settings back to resume it, remove the folder to start afresh, or keep"
        f" its weights with --load {folder / EMA} and other --outputs"
    )
