"""DPM-Solver++ as a scheduler: samples models that were trained with `iddpm`."""

from typing import Any, NoReturn

from torch import Tensor

from opensora.config.registry import SCHEDULERS
from opensora.core.errors import ConfigError
from opensora.schedulers.common import Generators
from opensora.schedulers.dpms.schedule import ContinuousSchedule, SkipType
from opensora.schedulers.dpms.solver import Method, solve
from opensora.schedulers.guidance import GuidedModel
from opensora.schedulers.iddpm.betas import beta_schedule
from opensora.schedulers.sampling import Display, Sampler

CHAIN_LENGTH = 1000  # steps of the chain the models were trained on


@SCHEDULERS.register_module("dpm-solver")
class DPMSolver(Sampler):
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

    keeps_frames = False

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

    def walk(
        self,
        network: GuidedModel,
        z: Tensor,
        mask: Tensor | None,
        generator: Generators,
        display: Display,
    ) -> Tensor:
        """Steps of the solver on predicted data; see `Sampler.walk`. It draws no noise."""

        def denoise(x: Tensor, time: Tensor) -> Tensor:
            t = self.schedule.model_timestep(time).float().to(x.device).expand(len(x))
            noise = network(x, t)
            data = x - float(self.schedule.sigma(time)) * noise
            data = data / float(self.schedule.alpha(time))
            network.tell(lambda: data)
            return data

        return solve(
            denoise,
            z,
            self.schedule,
            num_steps=self.num_sampling_steps,
            order=self.order,
            skip_type=self.skip_type,
            method=self.method,
            display=display,
        )
