"""The loop that is written with diffusers and nothing else; the other side of `bench open`.

As diffusers' own example scripts have it: flow matching with shifted logit-normal timesteps,
autocast, clipped gradients, AdamW as torch makes it, diffusers' moving average.
"""

from collections.abc import Callable, Mapping
from typing import Any

import diffusers
import torch
from diffusers.training_utils import EMAModel, compute_density_for_timestep_sampling
from torch import Tensor

from opensora.bench.open_models.cases import Encoders

Steps = Callable[[int], None]


def plain_loop(
    fields: Mapping[str, Any],
    state: Mapping[str, Tensor],
    latents: Tensor,
    text: Tensor,
    *,
    dtype: torch.dtype,
    lr: float,
    shift: float,
    grad_clip: float,
    ema_decay: float,
    fused: bool = False,
    encoders: Encoders | None = None,
    told: Callable[[float], object] = float,
) -> Steps:
    """A training loop on one batch in memory.

    Args:
        fields: of the transformer.
        state: its first weights.
        latents: [B, C, T, H, W], as stores keep them.
        text: [B, L, D], zero beyond each caption, likewise.
        dtype: of autocast; float32 goes without.
        lr: learning rate.
        shift: of the timesteps.
        grad_clip: largest gradient norm.
        ema_decay: of the moving average.
        fused: AdamW in one kernel, which is not torch's default.
        encoders: make latents and text anew in each step; None takes those given.
        told: the loss of each step, which such loops write down.

    Returns:
        A function that does so many steps.
    """
    model: Any = diffusers.WanTransformer3DModel(**fields)
    model.load_state_dict(state)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lr, weight_decay=0.0, fused=True if fused else None
    )
    ema = EMAModel(model.parameters(), decay=ema_decay)
    schedule: Any = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    sigmas, timesteps = schedule.sigmas[:-1], schedule.timesteps

    def step() -> None:
        x, y = (latents.float(), text.float()) if encoders is None else encode(encoders, dtype)
        noise = torch.randn_like(x)
        u = compute_density_for_timestep_sampling("logit_normal", len(x), 0.0, 1.0)
        index = (u * len(timesteps)).long()
        sigma = sigmas[index].view(-1, 1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            noised = (1 - sigma) * x + sigma * noise
            predicted = model(noised, timesteps[index], y, return_dict=False)[0]
        loss = ((predicted.float() - (noise - x)) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(model.parameters())
        told(loss.item())

    def steps(number: int) -> None:
        for _ in range(number):
            step()

    return steps


@torch.no_grad()
def encode(encoders: Encoders, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Latents [B, C, T, H, W] and text [B, L, D] of a batch, as WanPipeline makes them."""
    vae = encoders.vae
    mean, std = (
        torch.tensor(values).view(-1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    latents = (vae.encode(encoders.videos).latent_dist.sample() - mean) / std
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        text = encoders.text(encoders.tokens, encoders.mask).last_hidden_state
    return latents, text.float() * encoders.mask[..., None]
