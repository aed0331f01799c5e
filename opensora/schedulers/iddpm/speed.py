"""SpeeD: train more often on the timesteps where the noise changes fastest."""

from functools import cached_property

import torch
from torch import Tensor

from opensora.config.registry import SCHEDULERS
from opensora.schedulers.common import DeviceTables
from opensora.schedulers.iddpm.iddpm import IDDPM

# Open-Sora 1.1; see Wang et al. 2024, arXiv:2405.17403, section 3
SLOW_CHANGE = 1e-4  # change of the noise's deviation per step that halves a step's probability
STEEPNESS = 1e6  # of the fall from the high to the low probability
FLOOR = 1.5  # added to tanh in [-1, 1]: high and low probability are 2.5 and 0.5
MEANINGLESS_CHANGE = 5e-5  # steps that change the noise by less teach nothing


@SCHEDULERS.register_module("iddpm-speed")
class SpeeD(IDDPM):
    """IDDPM whose training timesteps are drawn unevenly and in pairs, and weighted by noise.

    Half of a batch is drawn with a probability that favours fast change; each draw t brings its
    dual |t - S| into the other half, S being the first timestep without meaningful change. The
    squared error is weighted by 1 - alphas_cumprod, which is P2 weighting (Choi et al. 2022) with
    k = gamma = 1. Fields as for `iddpm`.
    """

    @cached_property
    def probabilities(self) -> Tensor:
        """Chance of each index to be drawn, float64 [num_timesteps]."""
        rise = torch.tanh(STEEPNESS * (self._change() - SLOW_CHANGE)) + FLOOR
        return rise / rise.sum()

    @cached_property
    def meaningful_steps(self) -> int:
        """Number S of indices before the first one without meaningful change, plus one."""
        slow = (self._change() < MEANINGLESS_CHANGE).nonzero()
        return int(slow[0, 0]) + 1 if len(slow) else self.num_timesteps

    @cached_property
    def weights(self) -> Tensor:
        """Factor of the squared error per index, float64 [num_timesteps]."""
        return 1 - self.process.tables["alphas_cumprod"]

    def draw_timesteps(
        self, num_samples: int, device: torch.device | str, generator: torch.Generator | None
    ) -> Tensor:
        """Draw indices [num_samples]: first the drawn ones, then the duals of as many as fit."""
        source = generator.device if generator is not None else torch.device("cpu")
        number = (num_samples + 1) // 2
        drawn = torch.multinomial(
            self._tables.on(source, "probabilities"),
            # elsewhere torch looks at the table before a single draw, and waits for the device
            number if source.type == "cpu" else max(number, 2),
            replacement=True,
            generator=generator,
        )[:number]
        duals = (drawn - self.meaningful_steps).abs()
        return torch.cat([drawn, duals])[:num_samples].to(device)

    def loss_weights(self, device: torch.device) -> Tensor:
        """Factors of the squared error, float64 [num_timesteps], on a device."""
        return self._tables.on(device, "weights")

    @cached_property
    def _tables(self) -> DeviceTables:
        return DeviceTables(probabilities=self.probabilities, weights=self.weights)

    def _change(self) -> Tensor:
        """Change of the noise's deviation per step, float64 [num_timesteps]."""
        return torch.gradient(self.process.tables["sqrt_one_minus_alphas_cumprod"])[0]
