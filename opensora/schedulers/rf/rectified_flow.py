"""Rectified flow on latents (Liu et al. 2022, arXiv:2209.03003; Esser et al. 2024)."""

from functools import partial

import torch
from torch import Tensor

from opensora.config.registry import SCHEDULERS
from opensora.core.errors import ConfigError
from opensora.schedulers.common import (
    Conditions,
    Generators,
    Model,
    add_frame_mask,
    draw_noise,
    frame_view,
    mean_per_sample,
)
from opensora.schedulers.guidance import GuidedModel
from opensora.schedulers.rf.timesteps import (
    SampleMethod,
    draw_timesteps,
    shift_timesteps,
    timestep_transform,
)
from opensora.schedulers.sampling import Display, Sampler


@SCHEDULERS.register_module("rflow")
class RectifiedFlow(Sampler):
    """Straight paths from data (t = 0) to noise (t = num_timesteps).

    x_t = (1 - t/N) * x_0 + t/N * noise; the model's first C channels predict x_0 - noise.

    Two rules differ from Open-Sora 1.2: the timestep transform counts the latent frames that are
    there, whatever the autoencoder, and sampling uses the same `transform_scale` as training.

    Args:
        num_timesteps: N, t of pure noise.
        num_sampling_steps: Euler steps of `sample`.
        cfg_scale: guidance scale; 1 skips the unconditional half.
        use_discrete_timesteps: whole timesteps in training and sampling.
        sample_method: "uniform" or "logit-normal" training timesteps.
        loc: mean of the logit, for "logit-normal".
        scale: deviation of the logit, for "logit-normal".
        use_timestep_transform: shift timesteps by the size of each video, in training and sampling.
        transform_scale: further factor of that shift.
        shift: constant shift s of t/N to s*t / (1 + (s-1)*t) in training and sampling.

    Raises:
        ConfigError: fields out of range or excluding each other.
    """

    def __init__(
        self,
        num_timesteps: int = 1000,
        num_sampling_steps: int = 10,
        cfg_scale: float = 4.0,
        use_discrete_timesteps: bool = False,
        sample_method: SampleMethod = "uniform",
        loc: float = 0.0,
        scale: float = 1.0,
        use_timestep_transform: bool = False,
        transform_scale: float = 1.0,
        shift: float | None = None,
    ) -> None:
        if sample_method not in ("uniform", "logit-normal"):
            raise ConfigError(
                f"scheduler rflow: sample_method is {sample_method!r}; "
                "use 'uniform' or 'logit-normal'."
            )
        if use_discrete_timesteps and sample_method != "uniform":
            raise ConfigError(
                "scheduler rflow: use_discrete_timesteps needs sample_method 'uniform'; "
                "drop one of the two."
            )
        if shift is not None and use_timestep_transform:
            raise ConfigError(
                "scheduler rflow: shift and use_timestep_transform exclude each other; set one."
            )
        for name, value in (
            ("num_timesteps", num_timesteps),
            ("num_sampling_steps", num_sampling_steps),
            ("transform_scale", transform_scale),
            ("shift", 1.0 if shift is None else shift),
        ):
            if value <= 0:
                raise ConfigError(f"scheduler rflow: {name} is {value}; it must be above 0.")
        self.num_timesteps = num_timesteps
        self.num_sampling_steps = num_sampling_steps
        self.cfg_scale = cfg_scale
        self.use_discrete_timesteps = use_discrete_timesteps
        self.sample_method: SampleMethod = sample_method
        self.loc = loc
        self.scale = scale
        self.use_timestep_transform = use_timestep_transform
        self.transform_scale = transform_scale
        self.shift = shift

    def add_noise(self, x_start: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t [B, C, T, H, W] of data and noise of that shape at t [B]; t = 0 is the data."""
        level = (t.float() / self.num_timesteps).view(-1, *[1] * (x_start.dim() - 1))
        return (1 - level) * x_start + level * noise

    def shift_t(self, t: Tensor, model_kwargs: Conditions | None, latent_frames: int) -> Tensor:
        """Apply the configured shift to t [B] in [0, num_timesteps]; latents have T frames."""
        if self.use_timestep_transform:
            return timestep_transform(
                t,
                {} if model_kwargs is None else model_kwargs,
                latent_frames,
                scale=self.transform_scale,
                num_timesteps=self.num_timesteps,
            )
        if self.shift is not None:
            return shift_timesteps(t / self.num_timesteps, self.shift) * self.num_timesteps
        return t

    def training_losses(
        self,
        model: Model,
        x_start: Tensor,
        t: Tensor | None = None,
        model_kwargs: Conditions | None = None,
        mask: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        weights: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Mean squared error of the velocity, per sample.

        Args:
            model: predicts the velocity in its first C channels.
            x_start: clean latents [B, C, T, H, W].
            t: [B] in [0, num_timesteps], used as it is; drawn and shifted when absent.
            model_kwargs: conditions of the model.
            mask: bool [B, T], True = noised frame. Clean frames keep t = 0, are named to the model
                as x_mask and stay out of the loss.
            noise: as x_start; drawn when absent.
            weights: [num_timesteps] factors of the loss, read at floor(t).
            generator: source of t and noise.

        Returns:
            loss [B].
        """
        if t is None:
            t = draw_timesteps(
                len(x_start),
                x_start.device,
                num_timesteps=self.num_timesteps,
                discrete=self.use_discrete_timesteps,
                method=self.sample_method,
                loc=self.loc,
                scale=self.scale,
                generator=generator,
            )
            t = self.shift_t(t, model_kwargs, x_start.shape[2])
        if noise is None:
            noise = draw_noise(x_start, generator)
        x_t = self.add_noise(x_start, noise, t)  # [B, C, T, H, W]
        if mask is not None:
            x_t = torch.where(frame_view(mask.bool()), x_t, x_start)
        output = model(x_t, t, **add_frame_mask(model_kwargs, mask))
        velocity = output[:, : x_start.shape[1]]  # a learned variance has no place here
        error = (velocity - (x_start - noise)).square()
        loss = mean_per_sample(error, mask)  # [B]
        if weights is not None:
            rows = t.long().clamp(0, len(weights) - 1)
            loss = loss * weights.to(loss)[rows]
        return {"loss": loss}

    def timesteps(self, num_samples: int, device: torch.device | str) -> list[Tensor]:
        """Timesteps of sampling before any shift, from num_timesteps down, each [num_samples]."""
        grid = [
            (1 - step / self.num_sampling_steps) * self.num_timesteps
            for step in range(self.num_sampling_steps)
        ]
        if self.use_discrete_timesteps:
            return [torch.full((num_samples,), round(t), device=device) for t in grid]
        return [torch.full((num_samples,), t, device=device) for t in grid]

    def walk(
        self,
        network: GuidedModel,
        z: Tensor,
        mask: Tensor | None,
        generator: Generators,
        display: Display,
    ) -> Tensor:
        """Euler steps along the guided velocity; see `Sampler.walk`."""
        grid = self.timesteps(len(z), z.device)
        steps = [self.shift_t(t, network.conditions, z.shape[2]) for t in grid]
        ends = [*steps[1:], torch.zeros_like(steps[0])]
        live = None if mask is None else mask == 1  # [B, T]
        for t, t_next in display(list(zip(steps, ends, strict=True))):
            kept = z
            if mask is not None and live is not None:
                # 1. frames whose level is reached join, noised to the present level
                joined = (mask * self.num_timesteps >= t[:, None]) | (mask == 1)
                noised = self.add_noise(kept, draw_noise(kept, generator), t)
                z, live = torch.where(frame_view(joined & ~live), noised, kept), joined
            # 2. Euler step along the guided velocity; kept frames are put back
            velocity = network(z, t, x_mask=live)
            network.tell(partial(self._estimate, z, velocity, t, live))
            moved = z + ((t - t_next) / self.num_timesteps).view(-1, 1, 1, 1, 1) * velocity
            z = moved if live is None else torch.where(frame_view(live), moved, kept)
        return z

    def _estimate(self, z: Tensor, velocity: Tensor, t: Tensor, live: Tensor | None) -> Tensor:
        """Where the straight path through z ends; frames that are not live stay."""
        data = z + (t / self.num_timesteps).view(-1, 1, 1, 1, 1) * velocity
        return data if live is None else torch.where(frame_view(live), data, z)
