"""A whole sampling run: what is not there yet is made, then the table of all; resumable."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError, Stopped
from opensora.core.io import read_json
from opensora.core.log import progress
from opensora.core.signals import StopSignals
from opensora.models.text_encoder import ClassEncoder
from opensora.sampling.batch import batches, sample_batch
from opensora.sampling.checks import check_keeps_frames
from opensora.sampling.conditioning import place
from opensora.sampling.pipeline import Pipeline
from opensora.sampling.prompt_text import loop_texts
from opensora.sampling.prompts import Prompt, of_each, requests
from opensora.sampling.records import is_sampled, record_path, save_sample
from opensora.sampling.references import encode_reference
from opensora.sampling.settings import SamplingSettings
from opensora.tables.columns import SAMPLES
from opensora.tables.io import write_table
from opensora.text.cut import count_cut, warn_cut

log = logging.getLogger(__name__)

TABLE_NAME = "samples.csv"
_ALONE = Workers(0, 1, torch.device("cpu"))


def sample_prompts(
    pipeline: Pipeline,
    prompts: Sequence[Prompt],
    settings: SamplingSettings,
    config: Mapping[str, Any] | None = None,
    *,
    workers: Workers = _ALONE,
    signals: StopSignals | None = None,
) -> Path:
    """Make every sample that is not there yet and write the table of all of them.

    A sample is finished when its file is there and its record names the same weights, settings,
    prompt, references and seed.

    Args:
        pipeline: loaded parts.
        prompts: as the user wrote them, with what conditions them.
        settings: sizes, amounts, seed and folder.
        config: the resolved sampling config, kept in each record.
        workers: who share each sample; all go through this together, the first one writes.
        signals: whether a worker was asked to stop; None = signals end the process.

    Returns:
        Path of samples.csv.

    Raises:
        ConfigError: a prompt can not be sampled as asked.
        Stopped: a worker was asked to stop; what is finished is kept.
    """
    are_many = (config or {}).get("prompt_path") is not None
    prompts = check_prompts(pipeline, prompts, settings, are_many=are_many)
    wanted = requests(prompts, settings.num_samples)
    done = workers.of_group(lambda: {r.id for r in wanted if is_sampled(r, pipeline, settings)})
    todo = [request for request in wanted if request.id not in done]
    log.info("sample samples=%d finished=%d", len(wanted), len(wanted) - len(todo))
    latents: dict[str, Tensor] = {}

    def encode(prompt: Prompt) -> None:
        encode_references(pipeline, prompt, settings, latents)

    fresh = dict.fromkeys(request.prompt for request in todo)
    ready = {prompt for prompt, _ in of_each(encode, fresh, are_many=are_many)}
    lost = set(fresh) - ready
    wanted = [request for request in wanted if request.prompt not in lost]
    todo = [request for request in todo if request.prompt not in lost]
    for batch in progress(list(batches(todo, settings)), description="sample batches"):
        _end_if_asked(workers, signals)
        made = sample_batch(pipeline, batch, settings, latents)
        if not workers.is_main:
            continue
        for request, frames in zip(batch, made, strict=True):
            save_sample(request, frames, pipeline, settings, config or {})
    table = settings.save_dir / TABLE_NAME
    if workers.is_main:
        records = [read_json(record_path(request, settings)) for request in wanted]
        write_table(pd.DataFrame(records)[list(SAMPLES.columns)], table, SAMPLES)
    return table


def _end_if_asked(workers: Workers, signals: StopSignals | None) -> None:
    """Stop between two batches where a worker was asked to; all of them or none."""
    asked = None if signals is None else next(filter(None, workers.gather(signals.received)), None)
    if asked:
        sentence = f"{asked} came; samples that are finished are kept, run the same command again"
        raise Stopped(sentence if workers.is_main else "")


def check_prompts(
    pipeline: Pipeline,
    prompts: Sequence[Prompt],
    settings: SamplingSettings,
    *,
    are_many: bool = False,
) -> list[Prompt]:
    """Refuse prompts that the loaded parts can not sample, and tell what of them is not read.

    Args:
        pipeline: loaded parts.
        prompts: as the user wrote them.
        settings: how many loops there are.
        are_many: they come from a file: one that is refused is told and left out.

    Returns:
        Those that can be sampled.

    Raises:
        ConfigError: names the prompt.
    """
    if settings.condition_frame_length or any(prompt.rules for prompt in prompts):
        kind = pipeline.identity["scheduler"]["type"]
        check_keeps_frames(pipeline.model, pipeline.scheduler, kind)

    def read(prompt: Prompt) -> list[str]:
        try:
            texts = loop_texts(prompt.text, settings.loop, pipeline.clean)
        except ConfigError as error:
            raise ConfigError(f"prompt {prompt.text!r}: {error}") from error
        if isinstance(pipeline.text_encoder, ClassEncoder):
            pipeline.text_encoder.encode(texts)  # refuses what is not a class
        return texts

    good = of_each(read, prompts, are_many=are_many)
    texts = [text for _, parts in good for text in parts]
    warn_cut(count_cut(pipeline.text_encoder, texts), what="prompts", most=0.0)
    return [prompt for prompt, _ in good]


def encode_references(
    pipeline: Pipeline, prompt: Prompt, settings: SamplingSettings, latents: dict[str, Tensor]
) -> None:
    """Encode the references of a prompt, each once, and check that its rules fit them.

    Args:
        pipeline: loaded parts.
        prompt: what names them.
        settings: size of the samples.
        latents: content hash -> latents [C, R, h, w]; those that it lacks are added.

    Raises:
        ConfigError: a reference can not be read, or a rule asks for frames that are not there.
    """
    num_frames = pipeline.vae.get_latent_size((settings.num_frames, *settings.image_size))[0]
    for reference in prompt.references:
        if reference.sha256 not in latents:
            latents[reference.sha256] = encode_reference(
                reference, pipeline.vae, settings.image_size, pipeline.device
            )
    for rule in prompt.rules:
        reference = prompt.references[rule.reference]
        length = latents[reference.sha256].shape[1]
        place(rule, length, num_frames, align=settings.align)
