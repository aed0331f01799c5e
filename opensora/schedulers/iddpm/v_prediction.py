"""Diffusion as CogVideoX has it: v-prediction on a chain whose last step is noise alone."""

from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from opensora.config.registry import SCHEDULERS
from opensora.core.errors import ConfigError
from opensora.schedulers.common import (
    Conditions,
    DeviceTables,
    Generators,
    Model,
    draw_noise,
    mean_per_sample,
)
from opensora.schedulers.iddpm.betas import beta_schedule
from opensora.schedulers.rf.timesteps import draw_timesteps
from opensora.schedulers.sampling import Display, GuidedModel, Sampler

NUM_TIMESTEPS = 1000
BETAS = (0.00085, 0.012)  # first and last, between them even in the square root
Solver = Literal["ddim", "dpm"]


@SCHEDULERS.register_module("v-prediction")
class VPrediction(Sampler):
    """A chain of 1000 steps, x_t = a * x_0 + b * noise; the model predicts v = a * noise - b * x_0.

    Its mean squared error is that of x_0 weighted by 1 / b^2, as CogVideoX is trained. Sampling
    takes the steps of diffusers' CogVideoXDDIMScheduler or CogVideoXDPMScheduler.

    Args:
        snr_shift: divides the ratio a^2 / b^2 of each step; CogVideoX has 3 (2B) and 1 (5B).
        num_sampling_steps: evaluations of the model.
        cfg_scale: guidance scale; 1 skips the unconditional half.
        solver: "ddim", or "dpm", which draws noise at each step.

    Raises:
        ConfigError: a value that can not be meant.

    Source: Salimans and Ho 2022, arXiv:2202.00512; Lin et al. 2023, arXiv:2305.08891 (last step).
    """

    keeps_frames = False

    def __init__(
        self,
        snr_shift: float = 3.0,
        num_sampling_steps: int = 50,
        cfg_scale: float = 6.0,
        solver: Solver = "ddim",
    ) -> None:
        if snr_shift <= 0:
            raise ConfigError(
                f"scheduler v-prediction: snr_shift is {snr_shift}; expected a number above 0."
            )
        if num_sampling_steps > NUM_TIMESTEPS:
            raise ConfigError(
                f"scheduler v-prediction: num_sampling_steps is {num_sampling_steps}; expected 1"
                f" to {NUM_TIMESTEPS}."
            )
        self.snr_shift, self.cfg_scale = snr_shift, cfg_scale
        self.num_sampling_steps, self.solver = num_sampling_steps, solver
        self.num_timesteps = NUM_TIMESTEPS
        self.tables = DeviceTables(**chain(snr_shift))

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
        """Mean squared error of v, per sample.

        Args:
            model: predicts it in its first C channels.
            x_start: clean latents [B, C, T, H, W].
            t: [B] in 0 .. 999; drawn when absent.
            model_kwargs: conditions of the model.
            mask: frames can not be given.
            noise: as x_start; drawn when absent.
            generator: source of t and noise.

        Returns:
            loss [B].

        Raises:
            ConfigError: a mask.
        """
        if mask is not None:
            raise ConfigError("scheduler v-prediction can not keep frames; leave mask_ratios out.")
        if t is None:
            t = draw_timesteps(
                len(x_start),
                x_start.device,
                num_timesteps=self.num_timesteps,
                discrete=True,
                generator=generator,
            )
        if noise is None:
            noise = draw_noise(x_start, generator)
        a, b = (
            self.tables.on(x_start.device, name)[t.long()].view(-1, 1, 1, 1, 1)
            for name in ("data", "noise")
        )
        output = model(a * x_start + b * noise, t, **(model_kwargs or {}))[:, : x_start.shape[1]]
        return {"loss": mean_per_sample((output - (a * noise - b * x_start)).square())}

    def walk(
        self,
        network: GuidedModel,
        z: Tensor,
        mask: Tensor | None,
        generator: Generators,
        display: Display,
    ) -> Tensor:
        """Steps of diffusers' scheduler along the guided prediction; see `Sampler.walk`."""
        steps = self._steps()
        steps.set_timesteps(self.num_sampling_steps)
        if not isinstance(generator, torch.Generator | None):
            generator = list(generator)  # diffusers takes no other sequence
        before = earlier = None  # timestep and prediction of x_0 of the step before
        for t in display(list(steps.timesteps)):
            v = network(z, t.to(z.device).expand(len(z)))
            network.tell(partial(self._estimate, z, v, t))
            if self.solver == "ddim":
                z = steps.step(v, t, z, return_dict=False)[0]
                continue
            # frames before channels, as its pipeline draws the noise
            states = v.transpose(1, 2), earlier, t, before, z.transpose(1, 2)
            z, earlier = steps.step(*states, generator=generator, return_dict=False)
            z, before = z.transpose(1, 2), t
        return z

    def _estimate(self, z: Tensor, v: Tensor, t: Tensor) -> Tensor:
        a, b = (self.tables.on(z.device, name)[int(t)] for name in ("data", "noise"))
        return a * z - b * v

    def _steps(self) -> Any:
        import diffusers  # takes seconds, and the registry imports this module for every scheduler

        kinds = {
            "ddim": diffusers.CogVideoXDDIMScheduler,
            "dpm": diffusers.CogVideoXDPMScheduler,
        }
        return kinds[self.solver](
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            snr_shift_scale=self.snr_shift,
            timestep_spacing="trailing",
        )


def chain(snr_shift: float) -> dict[str, Tensor]:
    """What is left of the data and how much noise there is at each timestep, [1000] each."""
    kept = np.cumprod(1 - beta_schedule("quad", NUM_TIMESTEPS, start=BETAS[0], end=BETAS[1]))
    root = np.sqrt(kept / (snr_shift + (1 - snr_shift) * kept))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    tables = {"data": root, "noise": np.sqrt(1 - root**2)}
    return {name: torch.from_numpy(table).float() for name, table in tables.items()}
