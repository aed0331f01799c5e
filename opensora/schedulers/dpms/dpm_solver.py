"""DPM-Solver++ as a scheduler: samples models that were trained with `iddpm`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from opensora.config.registry import SCHEDULERS
from opensora.core.errors import ConfigError
from opensora.core.log import progress as show_progress
from opensora.schedulers.common import (
    Generators,
    Model,
    TextEncoder,
    conditions,
    guide,
    start_noise,
)
from opensora.schedulers.dpms.schedule import ContinuousSchedule, SkipType
from opensora.schedulers.dpms.solver import Denoise, Method, solve
from opensora.schedulers.iddpm.betas import beta_schedule

CHAIN_LENGTH = 1000  # steps of the chain the models were trained on


@SCHEDULERS.register_module("dpm-solver")
class DPMSolver:
    """Few-step sampling of noise-predicting models; deterministic given its starting noise.

    Args:
        num_sampling_steps: evaluations of the model.
        cfg_scale: guidance scale; 1 skips the unconditional half.
        order: order of the solver, 1 to 3 ("singlestep": 1 or 2).
        skip_type: spacing of the times: "time_uniform", "time_quadratic" or "logSNR".
        method: "multistep" or "singlestep".

    Raises:
        ConfigError: fields out of range.

    Source: Lu et al. 2022, arXiv:2211.01095.
    """

    def __init__(
        self,
        num_sampling_steps: int = 20,
        cfg_scale: float = 4.0,
        order: int = 2,
        skip_type: SkipType = "time_uniform",
        method: Method = "multistep",
    ) -> None:
        if skip_type not in ("time_uniform", "time_quadratic", "logSNR"):
            raise ConfigError(
                f"scheduler dpm-solver: skip_type is {skip_type!r}; use 'time_uniform',"
                " 'time_quadratic' or 'logSNR'."
            )
        highest = {"multistep": 3, "singlestep": 2}
        if method not in highest:
            raise ConfigError(
                f"scheduler dpm-solver: method is {method!r}; use 'multistep' or 'singlestep'."
            )
        if not 1 <= order <= highest[method]:
            raise ConfigError(
                f"scheduler dpm-solver: order is {order}; {method} has 1 to {highest[method]}."
            )
        if num_sampling_steps < order:
            raise ConfigError(
                f"scheduler dpm-solver: num_sampling_steps is {num_sampling_steps}; order {order}"
                f" needs at least {order}."
            )
        self.num_sampling_steps = num_sampling_steps
        self.cfg_scale = cfg_scale
        self.order = order
        self.skip_type: SkipType = skip_type
        self.method: Method = method
        self.num_timesteps = CHAIN_LENGTH
        self.schedule = ContinuousSchedule(beta_schedule("linear", CHAIN_LENGTH))

    def training_losses(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: this scheduler only samples.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("scheduler dpm-solver only samples; train the model with 'iddpm'.")

    @torch.no_grad()
    def sample(
        self,
        model: Model,
        text_encoder: TextEncoder,
        prompts: list[str],
        z_size: Sequence[int] | None,
        device: torch.device | str,
        additional_args: Mapping[str, Tensor] | None = None,
        *,
        z: Tensor | None = None,
        mask: Tensor | None = None,
        guidance_scale: float | None = None,
        progress: bool = False,
        generator: Generators = None,
    ) -> Tensor:
        """Integrate from noise to data.

        Args:
            model: predicts noise in its first C channels.
            text_encoder: encodes the prompts and gives the null embedding.
            prompts: clean prompts, one per sample.
            z_size: (C, T, H, W) of the noise to draw; unused when z is given.
            device: where the model runs.
            additional_args: per-sample values [B]: height, width, num_frames, ar, fps.
            z: ready noise [B, C, T, H, W].
            mask: must be None: this solver keeps no frames.
            guidance_scale: replaces cfg_scale.
            progress: show progress over the steps.
            generator: source of the starting noise, or one per sample.

        Returns:
            Latents [B, C, T, H, W].

        Raises:
            ConfigError: a mask was given.
        """
        if mask is not None:
            raise ConfigError(
                "scheduler dpm-solver can not keep frames; use 'iddpm' or 'rflow' with a mask."
            )
        scale = self.cfg_scale if guidance_scale is None else guidance_scale
        guided = scale != 1
        z = start_noise(len(prompts), z_size, device, z, generator)
        model_args = conditions(text_encoder, prompts, device, additional_args, guided=guided)

        def display(steps: Iterable[int]) -> Iterable[int]:
            return show_progress(steps, description="sample steps") if progress else steps

        return solve(
            self._denoiser(model, model_args, z.shape[1], scale if guided else None),
            z,
            self.schedule,
            num_steps=self.num_sampling_steps,
            order=self.order,
            skip_type=self.skip_type,
            method=self.method,
            display=display,
        )

    def _denoiser(
        self, model: Model, model_args: dict[str, Any], channels: int, scale: float | None
    ) -> Denoise:
        """Predicted data (x - sigma * noise) / alpha; without a scale, of the prompts alone."""

        def denoise(x: Tensor, time: Tensor) -> Tensor:
            t = self.schedule.model_timestep(time).float().to(x.device).expand(len(x))
            if scale is None:
                noise = model(x, t, **model_args)[:, :channels]
            else:
                output = model(torch.cat([x, x]), torch.cat([t, t]), **model_args)
                noise = guide(output[:, :channels], scale)
            return (x - float(self.schedule.sigma(time)) * noise) / float(self.schedule.alpha(time))

        return denoise
