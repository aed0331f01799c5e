"""A pipeline of two transformers, in diffusers and here."""

from pathlib import Path
from typing import Any

import diffusers
import torch

from opensora.config.registry import MODELS, build_module
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.settings import SamplingSettings

PARTS = ("transformer", "transformer_2")
LENGTH, FRAMES, SIDE, BOUNDARY = 32, 9, 32, 0.875
PROMPTS = ["a red ball", "two blue cubes"]
FLOW = {"type": "flow-match", "shift": 3.0}


def official(folder: Path) -> Any:
    pipeline = diffusers.WanPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def ours(folder: Path, part: str) -> Any:
    fields = {"type": "diffusers", "from_pretrained": str(folder), "part": part}
    return build_module(fields, MODELS)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sampled(folder: Path, model: dict[str, Any], noise: torch.Tensor, **scales: float) -> Any:
    text = {"type": "umt5", "from_pretrained": str(folder), "model_max_length": LENGTH}
    config = {
        "model": model,
        "vae": {"from_pretrained": str(folder)},
        "text_encoder": text,
        "scheduler": {**FLOW, "num_sampling_steps": 6, **scales},
    }
    size: Any = {"num_frames": FRAMES, "image_size": (SIDE, SIDE), "fps": 16}
    pipeline = load_pipeline(config, SamplingSettings(**size, save_dir=folder), "cpu")
    found = pipeline.scheduler.sample(
        pipeline.model, pipeline.text_encoder, PROMPTS, None, "cpu", z=noise
    )
    return found, pipeline


def of_diffusers(pipeline: Any, noise: torch.Tensor, first: float, second: float) -> torch.Tensor:
    found = pipeline(
        PROMPTS,
        **{"height": SIDE, "width": SIDE, "num_frames": FRAMES},
        num_inference_steps=6,
        guidance_scale=first,
        guidance_scale_2=second,
        latents=noise,
        max_sequence_length=LENGTH,
        output_type="latent",
    )
    return found.frames  # type: ignore[no-any-return]
