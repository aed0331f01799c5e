"""A whole sampling run: files, one record per sample, the samples table; resumable."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from opensora.core.errors import OpenSoraError
from opensora.core.io import atomic_path, read_json, write_json
from opensora.core.logging import progress
from opensora.media.encode import write_video
from opensora.sampling.batch import sample_batch
from opensora.sampling.display import enlarge
from opensora.sampling.pipeline import Pipeline
from opensora.sampling.prompts import SampleRequest, requests
from opensora.sampling.settings import SamplingSettings
from opensora.tables.columns import SAMPLES
from opensora.tables.io import write_table

log = logging.getLogger(__name__)

TABLE_NAME = "samples.csv"
_WITHOUT_EFFECT = ("save_dir", "num_samples", "batch_size")  # settings no single sample depends on


def sample_prompts(
    pipeline: Pipeline,
    prompts: Sequence[str],
    settings: SamplingSettings,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Make every sample that is not there yet and write the table of all of them.

    A sample is finished when its file is there and its record names the same weights, settings,
    prompt and seed.

    Args:
        pipeline: loaded parts.
        prompts: as the user wrote them.
        settings: sizes, amounts, seed and folder.
        config: the resolved sampling config, kept in each record.

    Returns:
        Path of samples.csv.
    """
    wanted = requests(prompts, settings.num_samples)
    todo = [r for r in wanted if not is_finished(r, pipeline, settings)]
    log.info("sample samples=%d finished=%d", len(wanted), len(wanted) - len(todo))
    starts = range(0, len(todo), settings.batch_size)
    for start in progress(starts, description="sample batches"):
        batch = todo[start : start + settings.batch_size]
        for request, frames in zip(batch, sample_batch(pipeline, batch, settings), strict=True):
            save_sample(request, frames, pipeline, settings, config or {})
    records = [read_json(record_path(request, settings)) for request in wanted]
    table = settings.save_dir / TABLE_NAME
    write_table(pd.DataFrame(records)[list(SAMPLES.columns)], table, SAMPLES)
    return table


def save_sample(
    request: SampleRequest,
    frames: np.ndarray,
    pipeline: Pipeline,
    settings: SamplingSettings,
    config: Mapping[str, Any],
) -> None:
    """Write one sample and then its record, which marks it as finished.

    Args:
        request: which sample.
        frames: uint8 [T, H, W, 3] at the sampled size.
        pipeline: named in the record.
        settings: display size, fps, folder.
        config: kept in the record.
    """
    frames = enlarge(frames, settings.display_size, settings.display_resize)
    path = file_path(request, settings)
    record_path(request, settings).unlink(missing_ok=True)  # an old record must not fit a new file
    if settings.num_frames == 1:
        with atomic_path(path) as temporary:
            Image.fromarray(frames[0]).save(temporary)
    else:
        write_video(path, frames, settings.fps)
    record = {
        "id": request.id,
        "path": path.name,
        "prompt": request.prompt,
        "clean_prompt": request.clean_prompt,
        "k": request.k,
        "seed": settings.seed,
        "noise_seed": request.noise_seed(settings.seed),
        "num_frames": len(frames),
        "height": settings.image_size[0],  # as sampled; the file may be enlarged
        "width": settings.image_size[1],
        "fps": settings.fps,
        **_plain(pipeline.identity),
        "config": _plain(config),
        "fingerprint": fingerprint(request, pipeline, settings),
    }
    write_json(record_path(request, settings), record)


def is_finished(request: SampleRequest, pipeline: Pipeline, settings: SamplingSettings) -> bool:
    """Whether the sample's file and a record with the same fingerprint are there."""
    if not file_path(request, settings).is_file():
        return False
    if not record_path(request, settings).is_file():
        return False
    try:
        record = read_json(record_path(request, settings))
    except OpenSoraError:  # a damaged record is no record
        return False
    return record.get("fingerprint") == fingerprint(request, pipeline, settings)


def fingerprint(request: SampleRequest, pipeline: Pipeline, settings: SamplingSettings) -> str:
    """Hash of everything the sample's file depends on."""
    identity = {name: value for name, value in pipeline.identity.items() if name != "checkpoint"}
    values = {k: v for k, v in asdict(settings).items() if k not in _WITHOUT_EFFECT}
    parts = [request.prompt, request.k, _plain(identity), _plain(values)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def file_path(request: SampleRequest, settings: SamplingSettings) -> Path:
    """Where the sample goes: a video, or an image when it has one frame."""
    suffix = ".png" if settings.num_frames == 1 else ".mp4"
    return settings.save_dir / f"{request.id}{suffix}"


def record_path(request: SampleRequest, settings: SamplingSettings) -> Path:
    """Where the sample's record goes."""
    return settings.save_dir / f"{request.id}.json"


def _plain(value: Any) -> Any:
    """Values as JSON knows them: mappings, lists, numbers, text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
