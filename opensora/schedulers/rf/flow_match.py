"""Flow matching as the open families of diffusers have it: noise minus data, a constant shift."""

from typing import Any, Literal

import torch
from torch import Tensor

from opensora.config.registry import SCHEDULERS
from opensora.core.errors import ConfigError
from opensora.schedulers.common import Conditions, Generators, Model, draw_noise, mean_per_sample
from opensora.schedulers.rf.timesteps import SampleMethod, draw_timesteps, shift_timesteps
from opensora.schedulers.sampling import Display, GuidedModel, Sampler

NUM_TIMESTEPS = 1000  # t of pure noise, in all families
Solver = Literal["euler", "unipc"]


@SCHEDULERS.register_module("flow-match")
class FlowMatch(Sampler):
    """Straight paths from data (t = 0) to noise (t = 1000); the model predicts noise - data.

    x_t = (1 - t/1000) * x_0 + t/1000 * noise. Sampling takes the steps of diffusers'
    FlowMatchEulerDiscreteScheduler or UniPCMultistepScheduler, number for number.

    Args:
        shift: s of t/N to s*t / (1 + (s-1)*t), in training and sampling; Wan has 3 at 480p and 5 at
            720p.
        num_sampling_steps: evaluations of the model.
        cfg_scale: guidance scale; 1 skips the unconditional half.
        solver: "unipc" as Wan's pipelines, or "euler".
        sample_method: "uniform" or "logit-normal" training timesteps, before the shift.
        loc: mean of the logit, for "logit-normal".
        scale: deviation of the logit, for "logit-normal".

    Raises:
        ConfigError: a value that can not be meant.

    Source: Lipman et al. 2022, arXiv:2210.02747; Esser et al. 2024, arXiv:2403.03206.
    """

    keeps_frames = False

    def __init__(
        self,
        shift: float = 3.0,
        num_sampling_steps: int = 50,
        cfg_scale: float = 5.0,
        solver: Solver = "unipc",
        sample_method: SampleMethod = "uniform",
        loc: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        if solver not in ("euler", "unipc"):
            raise ConfigError(
                f"scheduler flow-match: solver is {solver!r}; use 'unipc' or 'euler'."
            )
        if sample_method not in ("uniform", "logit-normal"):
            raise ConfigError(
                f"scheduler flow-match: sample_method is {sample_method!r}; use 'uniform' or"
                " 'logit-normal'."
            )
        if shift <= 0:
            raise ConfigError(f"scheduler flow-match: shift is {shift}; expected a number above 0.")
        if num_sampling_steps < 1:
            raise ConfigError(
                f"scheduler flow-match: num_sampling_steps is {num_sampling_steps}; expected at"
                " least 1."
            )
        self.shift, self.cfg_scale = shift, cfg_scale
        self.num_sampling_steps, self.solver = num_sampling_steps, solver
        self.sample_method: SampleMethod = sample_method
        self.loc, self.scale = loc, scale
        self.num_timesteps = NUM_TIMESTEPS

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
            mask: frames can not be given.
            noise: as x_start; drawn when absent.
            generator: source of t and noise.

        Returns:
            loss [B].

        Raises:
            ConfigError: a mask.
        """
        if mask is not None:
            raise ConfigError("scheduler flow-match can not keep frames; leave mask_ratios out.")
        if t is None:
            drawn = draw_timesteps(
                len(x_start),
                x_start.device,
                num_timesteps=1,
                method=self.sample_method,
                loc=self.loc,
                scale=self.scale,
                generator=generator,
            )
            t = shift_timesteps(drawn, self.shift) * self.num_timesteps
        if noise is None:
            noise = draw_noise(x_start, generator)
        level = (t.float() / self.num_timesteps).view(-1, 1, 1, 1, 1)
        x_t = (1 - level) * x_start + level * noise  # [B, C, T, H, W]
        output = model(x_t, t, **(model_kwargs or {}))[:, : x_start.shape[1]]
        return {"loss": mean_per_sample((output - (noise - x_start)).square())}

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
        steps.set_timesteps(self.num_sampling_steps, device=z.device)
        for t in display(list(steps.timesteps)):
            z = steps.step(network(z, t.expand(len(z))), t, z, return_dict=False)[0]
        return z

    def _steps(self) -> Any:
        import diffusers  # takes seconds, and the registry imports this module for every scheduler

        if self.solver == "euler":
            return diffusers.FlowMatchEulerDiscreteScheduler(shift=self.shift)
        return diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=self.shift
        )
