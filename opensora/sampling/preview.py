"""Pictures of samples that are not finished: what a middle frame is going to look like."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from opensora.core.io import atomic_path
from opensora.media.frames import to_uint8
from opensora.sampling.prompts import SampleRequest
from opensora.sampling.settings import SamplingSettings
from opensora.schedulers.guidance import Estimate, Watch

FOLDER = "previews"  # beside the samples


def preview_path(request: SampleRequest, settings: SamplingSettings) -> Path:
    """Where the picture of a sample is while it is made; it goes when the sample is there."""
    return settings.save_dir / FOLDER / f"{request.id}.png"


def previews(vae: Any, batch: Sequence[SampleRequest], settings: SamplingSettings) -> Watch | None:
    """What writes them every `preview_every` steps; None where nobody asks for them.

    Args:
        vae: decodes [B, C, t, h, w].
        batch: what is made.
        settings: the folder.

    Returns:
        A function of the step, from 1, and of what makes its estimate of the data [B, C, t, h, w]:
        without the noise that is still in them.
    """
    every = settings.preview_every
    if every is None:
        return None
    dtype = next(vae.parameters()).dtype

    @torch.no_grad()
    def look(step: int, estimate: Estimate) -> None:
        if step % every:
            return
        z = estimate()
        middle = z.shape[2] // 2
        pictures = vae.decode(z[:, :, middle : middle + 1].to(dtype))  # [B, 3, n, H, W]
        for request, picture in dict(zip(batch, pictures, strict=True)).items():
            with atomic_path(preview_path(request, settings)) as temporary:
                Image.fromarray(to_uint8(picture)[0]).save(temporary)

    return look


def remove_preview(request: SampleRequest, settings: SamplingSettings) -> None:
    """Take the picture of a finished sample away, and the folder with the last one."""
    path = preview_path(request, settings)
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()
