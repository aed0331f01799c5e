"""The Gaussian diffusion process: noising, and what a network's output says about the step back.

Ho et al. 2020, arXiv:2006.11239 (DDPM); Nichol and Dhariwal 2021, arXiv:2102.09672 (learned
variance). Timesteps here are indices 0 .. N-1 of the chain in use; index 0 is the lowest noise.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from opensora.schedulers.common import DeviceTables

VarianceKind = Literal["learned", "fixed_large", "fixed_small"]
MeanKind = Literal["noise", "data"]


class Prediction(NamedTuple):
    """One step back as a Gaussian, each [B, C, T, H, W]."""

    mean: Tensor
    variance: Tensor
    log_variance: Tensor
    pred_xstart: Tensor


class GaussianProcess:
    """Tables of one chain in float64, and the formulas that read them.

    Args:
        betas: float64 [N], the chain in use.
        mean_kind: what the network predicts, the "noise" or the "data".
        variance_kind: "learned" (second half of the channels interpolates between the bounds), or
            a bound: "fixed_large" = beta, "fixed_small" = posterior variance.
    """

    def __init__(
        self,
        betas: np.ndarray,
        *,
        mean_kind: MeanKind = "noise",
        variance_kind: VarianceKind = "learned",
    ) -> None:
        self.mean_kind = mean_kind
        self.variance_kind = variance_kind
        alphas_cumprod = np.cumprod(1 - betas)
        previous = np.append(1.0, alphas_cumprod[:-1])
        posterior_variance = betas * (1 - previous) / (1 - alphas_cumprod)  # DDPM eq. 7
        # the posterior variance of index 0 is 0: its logarithm is taken from index 1
        floor = posterior_variance[1] if len(betas) > 1 else betas[0]
        tables = {
            "betas": betas,
            "log_betas": np.log(betas),
            "alphas_cumprod": alphas_cumprod,
            "alphas_cumprod_prev": previous,
            "sqrt_alphas_cumprod": np.sqrt(alphas_cumprod),
            "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - alphas_cumprod),
            "sqrt_recip_alphas_cumprod": np.sqrt(1 / alphas_cumprod),
            "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / alphas_cumprod - 1),
            "posterior_variance": posterior_variance,
            "posterior_log_variance_clipped": np.log(np.append(floor, posterior_variance[1:])),
            "posterior_mean_coef1": betas * np.sqrt(previous) / (1 - alphas_cumprod),
            "posterior_mean_coef2": (1 - previous) * np.sqrt(1 - betas) / (1 - alphas_cumprod),
            "variance_large": np.append(floor, betas[1:]),
        }
        self.tables = {name: torch.from_numpy(table) for name, table in tables.items()}
        self._copies = DeviceTables(**self.tables)

    def __len__(self) -> int:
        return len(self.tables["betas"])

    def at(self, name: str, t: Tensor, like: Tensor) -> Tensor:
        """Entries of a table at t [B] as float32 [B, 1, ...], to broadcast with `like`."""
        values = self._copies.on(t.device, name)[t].float()
        return values.view(-1, *[1] * (like.dim() - 1))

    def q_sample(self, x_start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Noise data to level t [B] (DDPM eq. 4): [B, C, T, H, W]."""
        return (
            self.at("sqrt_alphas_cumprod", t, x_start) * x_start
            + self.at("sqrt_one_minus_alphas_cumprod", t, x_start) * noise
        )

    def q_posterior_mean(self, x_start: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Mean of x_{t-1} given x_t and the data (DDPM eq. 7): [B, C, T, H, W]."""
        return (
            self.at("posterior_mean_coef1", t, x_t) * x_start
            + self.at("posterior_mean_coef2", t, x_t) * x_t
        )

    def predict_xstart(self, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Data that gives x_t with this noise."""
        return (
            self.at("sqrt_recip_alphas_cumprod", t, x_t) * x_t
            - self.at("sqrt_recipm1_alphas_cumprod", t, x_t) * noise
        )

    def predict_noise(self, x_t: Tensor, t: Tensor, x_start: Tensor) -> Tensor:
        """Noise that gives x_t from this data."""
        return (self.at("sqrt_recip_alphas_cumprod", t, x_t) * x_t - x_start) / self.at(
            "sqrt_recipm1_alphas_cumprod", t, x_t
        )

    def p_mean_variance(
        self, output: Tensor, x_t: Tensor, t: Tensor, *, clip_denoised: bool = False
    ) -> Prediction:
        """Read a network's output as the distribution of x_{t-1}.

        Args:
            output: [B, C, T, H, W], or [B, 2C, T, H, W] with a learned variance.
            x_t: [B, C, T, H, W].
            t: [B] indices of the chain.
            clip_denoised: limit the predicted data to [-1, 1] (for pixels, not for latents).

        Raises:
            ValueError: the network's channels do not fit the kind of variance.
        """
        value, log_variance = self._split(output, x_t, t)
        x_start = value if self.mean_kind == "data" else self.predict_xstart(x_t, t, value)
        if clip_denoised:
            x_start = x_start.clamp(-1, 1)
        mean = self.q_posterior_mean(x_start, x_t, t)
        if self.variance_kind == "fixed_small":  # exact at index 0, where it is 0
            variance = self.at("posterior_variance", t, x_t).expand_as(x_t)
        else:
            variance = log_variance.exp()
        return Prediction(mean, variance, log_variance, x_start)

    def _split(self, output: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The predicted noise or data, and the log variance, each [B, C, T, H, W]."""
        channels = x_t.shape[1]
        expected = 2 * channels if self.variance_kind == "learned" else channels
        if output.shape[1] != expected:
            raise ValueError(
                f"the model gives {output.shape[1]} channels for {channels} of latents; a"
                f" {self.variance_kind} variance needs {expected}: make the model's pred_sigma and"
                " the scheduler's learn_sigma equal"
            )
        if self.variance_kind == "learned":
            value, interpolation = output.chunk(2, dim=1)
            low = self.at("posterior_log_variance_clipped", t, x_t)
            high = self.at("log_betas", t, x_t)
            fraction = (interpolation + 1) / 2  # Nichol and Dhariwal 2021, eq. 15
            return value, fraction * high + (1 - fraction) * low
        if self.variance_kind == "fixed_large":
            log_variance = self.at("variance_large", t, x_t).log()
        else:
            log_variance = self.at("posterior_log_variance_clipped", t, x_t)
        return output, log_variance.expand_as(x_t)
