"""Flow matching as the open families of diffusers have it: noise minus data, shifted timesteps."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
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
from opensora.schedulers.rf.timesteps import (
    SampleMethod,
    draw_in_band,
    draw_timesteps,
    shift_timesteps,
)
from opensora.schedulers.sampling import Display, GuidedModel, Sampler

NUM_TIMESTEPS = 1000  # t of pure noise, in all families
Solver = Literal["unipc", "dpm", "euler", "euler-even"]


@SCHEDULERS.register_module("flow-match")
class FlowMatch(Sampler):
    """Straight paths from data (t = 0) to noise (t = 1000); the model predicts noise - data.

    x_t = (1 - t/1000) * x_0 + t/1000 * noise. Sampling takes the steps of diffusers'
    FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler or DPMSolverMultistepScheduler.

    Args:
        shift: s of t/N to s*t / (1 + (s-1)*t), in training and sampling; Wan has 3 at 480p and 5 at
            720p.
        log_shift: instead, the logarithm of s at two numbers of latent values in time and space,
            on a line through both elsewhere; LTX-Video has {1024: 0.95, 4096: 2.05}.
        shift_terminal: t/N of the last step of "euler-even"; the others are stretched to it.
        num_sampling_steps: evaluations of the model.
        cfg_scale: guidance scale; 1 skips the unconditional half.
        solver: "unipc" as Wan's pipelines; "dpm" as SANA-Video's; "euler"; or "euler-even", whose
            steps are even before the shift, as LTX-Video's.
        sample_method: "uniform" or "logit-normal" training timesteps, before the shift.
        loc: mean of the logit, for "logit-normal".
        scale: deviation of the logit, for "logit-normal".
        band: lowest and highest t/1000 of training, after the shift; None = 0 to 1. A model that
            is one of two transformers says its own.
        cfg_scale_2: guidance scale below the noise where two transformers meet; None = cfg_scale.

    Raises:
        ConfigError: a value that can not be meant.

    Source: Lipman et al. 2022, arXiv:2210.02747; Esser et al. 2024, arXiv:2403.03206.
    """

    def __init__(
        self,
        shift: float = 3.0,
        log_shift: Mapping[int, float] | None = None,
        shift_terminal: float | None = None,
        num_sampling_steps: int = 50,
        cfg_scale: float = 5.0,
        solver: Solver = "unipc",
        sample_method: SampleMethod = "uniform",
        loc: float = 0.0,
        scale: float = 1.0,
        band: tuple[float, float] | None = None,
        cfg_scale_2: float | None = None,
    ) -> None:
        if band is not None and not 0 <= band[0] < band[1] <= 1:
            raise ConfigError(
                f"scheduler flow-match: band is {band}; expected two numbers from 0 to 1 that rise."
            )
        if shift_terminal is not None and (solver != "euler-even" or not 0 < shift_terminal < 1):
            raise ConfigError(
                f"scheduler flow-match: shift_terminal is {shift_terminal} and the solver"
                f" {solver!r}; expected a number between 0 and 1, with 'euler-even'."
            )
        if shift <= 0:
            raise ConfigError(f"scheduler flow-match: shift is {shift}; expected a number above 0.")
        self.shift, self.cfg_scale = shift, cfg_scale
        self.line, self.shift_terminal = _line_through(log_shift), shift_terminal
        self.num_sampling_steps, self.solver = num_sampling_steps, solver
        self.sample_method: SampleMethod = sample_method
        self.loc, self.scale = loc, scale
        self.num_timesteps = NUM_TIMESTEPS
        self.band, self.cfg_scale_2 = band, cfg_scale_2

    def training_losses(
        self,
        model: Model,
        x_start: Tensor,
        t: Tensor | None = None,
        model_kwargs: Conditions | None = None,
        mask: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Mean squared error of noise - data, per sample.

        Args:
            model: predicts it in its first C channels.
            x_start: clean latents [B, C, T, H, W].
            t: [B] in [0, 1000], used as it is; drawn and shifted when absent.
            model_kwargs: conditions of the model.
            mask: bool [B, T], True = noised frame. Clean frames keep t = 0, are named to the model
                as x_mask and stay out of the loss.
            noise: as x_start; drawn when absent.
            generator: source of t and noise.

        Returns:
            loss [B].
        """
        if t is None:
            t = self._draw(x_start, generator)
        if noise is None:
            noise = draw_noise(x_start, generator)
        level = (t.float() / self.num_timesteps).view(-1, 1, 1, 1, 1)
        x_t = (1 - level) * x_start + level * noise  # [B, C, T, H, W]
        if mask is not None:
            x_t = torch.where(frame_view(mask.bool()), x_t, x_start)
        output = model(x_t, t, **add_frame_mask(model_kwargs, mask))[:, : x_start.shape[1]]
        return {"loss": mean_per_sample((output - (noise - x_start)).square(), mask)}

    def _draw(self, x_start: Tensor, generator: torch.Generator | None) -> Tensor:
        """Timesteps [B] of latents [B, C, T, H, W], shifted, those of the band alone."""
        shift, place = self.shift_for(x_start), (len(x_start), x_start.device)
        options: Any = {"method": self.sample_method, "loc": self.loc, "scale": self.scale}
        options["generator"] = generator
        if self.band is None:
            drawn = draw_timesteps(*place, num_timesteps=1, **options)
            return shift_timesteps(drawn, shift) * self.num_timesteps
        low, high = (float(shift_timesteps(torch.tensor(end), 1 / shift)) for end in self.band)
        t = shift_timesteps(draw_in_band(*place, (low, high), **options), shift)
        # rounding leaves no timestep to the neighbour, who begins at `high`
        ends = torch.tensor(self.band, device=t.device) * self.num_timesteps
        top = ends[1] if self.band[1] == 1 else torch.nextafter(ends[1], ends[0])
        return (t * self.num_timesteps).clamp(ends[0], top)

    def walk(
        self,
        network: GuidedModel,
        z: Tensor,
        mask: Tensor | None,
        generator: Generators,
        display: Display,
    ) -> Tensor:
        """Steps of diffusers' scheduler along the guided prediction; see `Sampler.walk`.

        Raises:
            ConfigError: frames that are neither kept nor made: a solver that looks back has no past
                for them.
        """
        live = None if mask is None else mask == 1  # [B, T]
        if mask is not None and not ((mask == 0) | (mask == 1)).all():
            raise ConfigError(
                "scheduler flow-match keeps frames exactly or makes them from noise; use edit_ratio"
                " 0 or 1 in mask_strategy."
            )
        kept = z
        steps = self._steps(self.shift_for(z))
        if self.solver == "euler-even":
            sigmas = np.linspace(1, 1 / self.num_sampling_steps, self.num_sampling_steps)
            steps.set_timesteps(sigmas=sigmas, device=z.device)
        else:
            steps.set_timesteps(self.num_sampling_steps, device=z.device)
        # the levels are not quite t / 1000: some schedulers round t
        for t, level in display(list(zip(steps.timesteps, steps.sigmas[:-1], strict=True))):
            velocity = network(z, t.expand(len(z)), x_mask=live)
            network.tell(partial(_estimate, z, velocity, level.to(z.device), live))
            z = steps.step(velocity, t, z, return_dict=False)[0]
            if live is not None:
                z = torch.where(frame_view(live), z, kept)
        return z

    def shift_for(self, latents: Tensor) -> float:
        """The shift s of latents [B, C, T, H, W]."""
        if self.line is None:
            return self.shift
        level, slope = self.line
        return math.exp(level + slope * math.prod(latents.shape[2:]))

    def _steps(self, shift: float) -> Any:
        import diffusers  # takes seconds, and the registry imports this module for every scheduler

        if self.solver.startswith("euler"):
            return diffusers.FlowMatchEulerDiscreteScheduler(
                shift=shift, shift_terminal=self.shift_terminal
            )
        kinds = {
            "unipc": diffusers.UniPCMultistepScheduler,
            "dpm": diffusers.DPMSolverMultistepScheduler,
        }
        return kinds[self.solver](
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
        )


def _estimate(z: Tensor, velocity: Tensor, level: Tensor, live: Tensor | None) -> Tensor:
    """Where the straight path through z ends; frames that are not live stay."""
    data = z - level * velocity
    return data if live is None else torch.where(frame_view(live), data, z)


def _line_through(points: Mapping[int, float] | None) -> tuple[float, float] | None:
    """Level and slope of the line through two points.

    Raises:
        ConfigError: not two.
    """
    if points is None:
        return None
    if len(points) != 2:
        raise ConfigError(
            f"scheduler flow-match: log_shift is {dict(points)}; expected it at two numbers of"
            " latent values, as {1024: 0.95, 4096: 2.05}."
        )
    (low, first), (high, second) = sorted((int(size), log) for size, log in points.items())
    slope = (second - first) / (high - low)
    return first - slope * low, slope
