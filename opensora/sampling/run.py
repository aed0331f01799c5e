"""A whole sampling run: what is not there yet is made, then the table of all; resumable."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError, OpenSoraError, Stopped
from opensora.core.log import progress
from opensora.core.signals import StopSignals
from opensora.models.text_encoder import ClassEncoder
from opensora.sampling.batch import OnStep, sample_batch
from opensora.sampling.checks import check_keeps_frames
from opensora.sampling.conditioning import place
from opensora.sampling.pictures import check_given, reads_given
from opensora.sampling.pipeline import Pipeline
from opensora.sampling.places import Place, batches_of, whole_batches
from opensora.sampling.preview import remove_preview
from opensora.sampling.prompt_text import loop_texts
from opensora.sampling.prompts import Prompt, SampleRequest, of_each, requests
from opensora.sampling.records import is_sampled, save_sample
from opensora.sampling.references import encode_reference, keep_picture
from opensora.sampling.settings import SamplingSettings
from opensora.sampling.table import write_samples
from opensora.text.cut import count_cut, warn_cut

log = logging.getLogger(__name__)

_ALONE = Workers(0, 1, torch.device("cpu"))


def sample_prompts(
    pipeline: Pipeline,
    prompts: Sequence[Prompt],
    settings: SamplingSettings,
    config: Mapping[str, Any] | None = None,
    *,
    part: tuple[int, int] = (1, 1),
    workers: Workers = _ALONE,
    signals: StopSignals | None = None,
    on_step: OnStep | None = None,
) -> Path:
    """Make every sample that is not there yet and write the table of all of them.

    A sample is finished when its file is there and its record names the same weights, settings,
    prompt, references and seed. Parts and groups of workers take whole batches of the run, so who
    makes a sample changes nothing of it.

    Args:
        pipeline: loaded parts.
        prompts: as the user wrote them, with what conditions them.
        settings: sizes, amounts, seed and folder.
        config: the resolved sampling config, kept in each record.
        part: which part of the samples, and of how many; (1, 1) is the whole.
        workers: of this part; those of a group share each sample, the first one of all writes
            the table.
        signals: whether a worker was asked to stop; None = signals end the process.
        on_step: called after each call of the model, where no other workers share the samples;
            what it raises ends the run, and what is finished is kept.

    Returns:
        Path of the table: samples.csv, or that of the part.

    Raises:
        ConfigError: a prompt can not be sampled as asked.
        CheckpointError: the model gives numbers that are not finite.
        Stopped: a worker was asked to stop; what is finished is kept.
    """
    are_many = (config or {}).get("prompt_path") is not None
    prompts = check_prompts(pipeline, prompts, settings, are_many=are_many)
    wanted = requests(prompts, settings.num_samples)
    number, count = part
    own = [batch.places for batch in whole_batches(wanted, settings)[number - 1 :: count]]
    mine = _together(own[workers.group :: workers.num_groups])
    make = partial(_make, pipeline, mine, settings, config or {})
    make = partial(make, workers=workers, signals=signals, on_step=on_step)
    lost = _lost_by_all(make, workers)
    places = _together(own)
    numbers = {
        request: row
        for row, request in enumerate(wanted)
        if request in places and request.prompt not in lost
    }
    return workers.first(lambda: write_samples(numbers, settings, part))


def _lost_by_all(make: Callable[[], set[Prompt]], workers: Workers) -> set[Prompt]:
    """Make the samples of this worker; what it lost, or why it failed, all workers learn."""
    lost: set[Prompt] = set()
    failure: OpenSoraError | None = None
    try:
        lost = make()
    except OpenSoraError as error:
        failure = error
    return _agree(failure, lost, workers)


def _together(parts: Sequence[Mapping[SampleRequest, Place]]) -> dict[SampleRequest, Place]:
    return dict(chain.from_iterable(part.items() for part in parts))


def _make(
    pipeline: Pipeline,
    places: Mapping[SampleRequest, Place],
    settings: SamplingSettings,
    config: Mapping[str, Any],
    *,
    workers: Workers,
    signals: StopSignals | None,
    on_step: OnStep | None,
) -> set[Prompt]:
    """Make what is missing of the samples of one group of workers.

    Returns:
        Prompts of a file of them that were told and left out.

    Raises:
        ConfigError, CheckpointError, Stopped: as `sample_prompts`.
    """
    done = workers.of_group(lambda: {r.id for r in places if is_sampled(r, pipeline, settings)})
    todo = [request for request in places if request.id not in done]
    log.info("sample samples=%d finished=%d", len(places), len(places) - len(todo))
    latents: dict[str, Tensor] = {}

    def encode(prompt: Prompt) -> None:
        if not reads_given(pipeline.model):  # else a batch encodes its own
            encode_references(pipeline, prompt, settings, latents)
        for reference in prompt.references if not workers.place else ():
            keep_picture(reference, settings.image_size, settings.save_dir)

    fresh = dict.fromkeys(request.prompt for request in todo)
    are_many = config.get("prompt_path") is not None
    ready = {prompt for prompt, _ in of_each(encode, fresh, are_many=are_many)}
    todo = [request for request in todo if request.prompt in ready]
    for batch in progress(batches_of(todo, places, settings), description="sample batches"):
        if asked := workers.of_group(lambda: None if signals is None else signals.received):
            raise Stopped(
                f"{asked} came; samples that are finished are kept, run the same command again"
            )
        made = sample_batch(pipeline, batch.rows, settings, latents, on_step)
        if workers.place:
            continue
        for request, own in batch.places.items():
            save_sample(request, made[own.row], pipeline, settings, config, own)
            remove_preview(request, settings)
    return set(fresh) - ready


def _agree(failure: OpenSoraError | None, lost: set[Prompt], workers: Workers) -> set[Prompt]:
    """Wait for all workers; the prompts that any of them left out.

    Raises:
        OpenSoraError: the first failure of any; the main worker has its words, the others none.
    """
    with workers.meeting():
        outcomes = workers.gather((failure, lost))
    found = next((error for error, _ in outcomes if error is not None), None)
    if found is not None:
        if workers.is_main:
            raise found
        raise Stopped("") if isinstance(found, Stopped) else OpenSoraError("")
    return set().union(*(prompts for _, prompts in outcomes))


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
    begins = reads_given(pipeline.model)
    if not begins and (settings.condition_frame_length or any(p.rules for p in prompts)):
        kind = pipeline.identity["scheduler"]["type"]
        check_keeps_frames(pipeline.model, pipeline.scheduler, kind)

    def read(prompt: Prompt) -> list[str]:
        if begins:
            check_given(pipeline.model, prompt, settings)
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
