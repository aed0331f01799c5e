"""The loop that is written with diffusers and nothing else; the other side of `bench open`.

As diffusers' own example scripts have it: flow matching with shifted logit-normal timesteps,
autocast, clipped gradients, AdamW as torch makes it, diffusers' moving average.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers.training_utils import EMAModel, compute_density_for_timestep_sampling
from torch import Tensor

from opensora.bench.open_models.cases import Encoders

Steps = Callable[[int], None]


@dataclass(frozen=True)
class Recipe:
    """How the loop trains.

    Attributes:
        dtype: of autocast; float32 goes without.
        lr: learning rate.
        shift: of the timesteps.
        grad_clip: largest gradient norm.
        ema_decay: of the moving average.
        fused: AdamW in one kernel, which is not torch's default.
    """

    dtype: torch.dtype
    lr: float
    shift: float
    grad_clip: float
    ema_decay: float
    fused: bool = False


def plain_loop(
    fields: Mapping[str, Any],
    state: Mapping[str, Tensor],
    batch: tuple[Tensor, Tensor] | Encoders,
    recipe: Recipe,
    *,
    told: Callable[[float], object] = float,
) -> Steps:
    """A training loop on one batch in memory.

    Args:
        fields: of the transformer.
        state: its first weights.
        batch: latents [B, C, T, H, W] and text [B, L, D], as stores keep them; or what makes both
            anew in each step.
        recipe: how it trains.
        told: the loss of each step, which such loops write down.

    Returns:
        A function that does so many steps.
    """
    model: Any = diffusers.WanTransformer3DModel(**fields)
    model.load_state_dict(state)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, weight_decay=0.0, fused=recipe.fused or None
    )
    ema = EMAModel(model.parameters(), decay=recipe.ema_decay)
    schedule: Any = diffusers.FlowMatchEulerDiscreteScheduler(shift=recipe.shift)
    sigmas, timesteps = schedule.sigmas[:-1], schedule.timesteps

    half = recipe.dtype == torch.bfloat16

    def step() -> None:
        made = encode(batch, half) if isinstance(batch, Encoders) else batch
        x, y = (tensor.float() for tensor in made)
        noise = torch.randn_like(x)
        u = compute_density_for_timestep_sampling("logit_normal", len(x), 0.0, 1.0)
        index = (u * len(timesteps)).long()
        sigma = sigmas[index].view(-1, 1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            noised = (1 - sigma) * x + sigma * noise
            predicted = model(noised, timesteps[index], y, return_dict=False)[0]
        loss = ((predicted.float() - (noise - x)) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(model.parameters())
        told(loss.item())

    def steps(number: int) -> None:
        for _ in range(number):
            step()

    return steps


@torch.no_grad()
def encode(encoders: Encoders, half: bool) -> tuple[Tensor, Tensor]:
    """Latents [B, C, T, H, W] and text [B, L, D] of a batch, as WanPipeline makes them.

    Args:
        encoders: and what they read.
        half: read text in bfloat16.
    """
    vae = encoders.vae
    mean, std = (
        torch.tensor(values).view(-1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    latents = (vae.encode(encoders.videos).latent_dist.sample() - mean) / std
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        text = encoders.text(encoders.tokens, encoders.mask).last_hidden_state
    return latents, text.float() * encoders.mask[..., None]
