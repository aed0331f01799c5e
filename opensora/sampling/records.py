"""The files of one sample: video or image, and the record that marks it as finished."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from opensora.core.errors import OpenSoraError
from opensora.core.io import atomic_path, read_json, write_json
from opensora.core.process import threads_in_use
from opensora.media.encode import write_video
from opensora.media.formats import is_media
from opensora.sampling.finished import is_as_written, with_content
from opensora.sampling.pipeline import Pipeline
from opensora.sampling.places import Place
from opensora.sampling.prompt_text import loop_texts
from opensora.sampling.prompts import SampleRequest
from opensora.sampling.settings import Resize, SamplingSettings

# settings no single sample depends on
_WITHOUT_EFFECT = (
    *("save_dir", "num_samples", "batch_size", "multi_resolution", "sp_size"),
    *("guidance_apart", "compile", "preview_every"),
)


def save_sample(
    request: SampleRequest,
    frames: np.ndarray,
    pipeline: Pipeline,
    settings: SamplingSettings,
    config: Mapping[str, Any],
    place: Place,
) -> None:
    """Write one sample and then its record, which marks it as finished.

    Args:
        request: which sample.
        frames: uint8 [T, H, W, 3] at the sampled size.
        pipeline: named in the record.
        settings: display size, fps, folder.
        config: kept in the record.
        place: where it was computed, which its rounding depends on.
    """
    path = file_path(request, settings)
    record_path(request, settings).unlink(missing_ok=True)  # an old record must not fit a new file
    height, width = frames.shape[1:3]
    frames = enlarge(frames, settings.display_size, settings.display_resize)
    if settings.num_frames == 1:
        with atomic_path(path) as temporary:
            Image.fromarray(frames[0]).save(temporary)
    else:
        write_video(path, frames, settings.file_fps)
    record = {
        "id": request.id,
        "path": path.name,
        "prompt": request.prompt.text,
        "clean_prompts": loop_texts(request.prompt.text, settings.loop, pipeline.clean),
        "k": request.k,
        "seed": settings.seed,
        "noise_seed": request.noise_seed(settings.seed),
        "num_frames": len(frames),
        "height": height,  # as sampled; the file may be enlarged
        "width": width,
        "fps": settings.file_fps,
        "condition_fps": pipeline.condition_fps(settings),
        "loop": settings.loop,
        "condition_frame_length": settings.condition_frame_length,
        "mask_strategy": request.prompt.mask_strategy,
        "references": [
            {"name": reference.name, "sha256": reference.sha256}
            for reference in request.prompt.references
        ],
        "place": list(place),
        "threads": threads_in_use(),
        "device": pipeline.device.type,
        **_plain(pipeline.identity),
        "config": _plain(config),
        "fingerprint": fingerprint(request, pipeline, settings),
    }
    write_json(record_path(request, settings), with_content(record, path))


def is_sampled(request: SampleRequest, pipeline: Pipeline, settings: SamplingSettings) -> bool:
    """Whether the sample's file is there as it was written, and a record with its fingerprint."""
    if not is_media(file_path(request, settings)):  # also of zero bytes, or no video at all
        return False
    if not record_path(request, settings).is_file():
        return False
    try:
        record = read_json(record_path(request, settings))
    except OpenSoraError:  # a damaged record is no record
        return False
    if not isinstance(record, dict) or not is_as_written(record, file_path(request, settings)):
        return False
    return record.get("fingerprint") == fingerprint(request, pipeline, settings)


def fingerprint(request: SampleRequest, pipeline: Pipeline, settings: SamplingSettings) -> str:
    """Hash of everything the sample's file depends on."""
    identity = {name: value for name, value in pipeline.identity.items() if name != "checkpoint"}
    values = {k: v for k, v in asdict(settings).items() if k not in _WITHOUT_EFFECT}
    references = [reference.sha256 for reference in request.prompt.references]
    conditions = [request.prompt.mask_strategy, references, pipeline.condition_fps(settings)]
    parts = [request.prompt.text, request.k, conditions, _plain(identity), _plain(values)]
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


def enlarge(frames: np.ndarray, short_side: int | None, method: Resize) -> np.ndarray:
    """Enlarge frames for display; frames that are large enough stay as they are.

    Args:
        frames: uint8 [T, H, W, 3].
        short_side: wished short side in pixels; None keeps the size.
        method: "nearest" repeats pixels by the largest whole factor that stays within
            short_side; "lanczos" reaches short_side exactly.

    Returns:
        uint8 [T, H', W', 3].
    """
    height, width = frames.shape[1:3]
    if short_side is None or short_side <= min(height, width):
        return frames
    if method == "nearest":
        factor = short_side // min(height, width)
        return frames.repeat(factor, axis=1).repeat(factor, axis=2)
    scale = short_side / min(height, width)
    size = (round(width * scale), round(height * scale))  # PIL wants (width, height)
    resized = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames]
    return np.stack([np.asarray(image) for image in resized])
