"""One step of sampling: ancestral (DDPM) or along the implicit process (DDIM)."""

import torch
from torch import Tensor

from opensora.schedulers.iddpm.process import GaussianProcess


def ddpm_step(
    process: GaussianProcess,
    output: Tensor,
    x_t: Tensor,
    t: Tensor,
    noise: Tensor,
    *,
    clip_denoised: bool = False,
) -> Tensor:
    """Draw x_{t-1}; at index 0 the mean is returned without noise.

    Args:
        process: tables of the chain in use.
        output: of the network at x_t.
        x_t: [B, C, T, H, W].
        t: [B] indices of the chain.
        noise: standard normal, as x_t.
        clip_denoised: limit the predicted data to [-1, 1].

    Returns:
        [B, C, T, H, W].

    Source: Ho et al. 2020, arXiv:2006.11239, algorithm 2.
    """
    step = process.p_mean_variance(output, x_t, t, clip_denoised=clip_denoised)
    return step.mean + _above_zero(t, x_t) * (0.5 * step.log_variance).exp() * noise


def ddim_step(
    process: GaussianProcess,
    output: Tensor,
    x_t: Tensor,
    t: Tensor,
    noise: Tensor,
    *,
    eta: float = 0.0,
    clip_denoised: bool = False,
) -> Tensor:
    """Move to x_{t-1}; eta 0 is deterministic, eta 1 has the variance of DDPM.

    Arguments and result as for `ddpm_step`.

    Source: Song et al. 2020, arXiv:2010.02502, eq. 12 and 16.
    """
    x_start = process.p_mean_variance(output, x_t, t, clip_denoised=clip_denoised).pred_xstart
    direction = process.predict_noise(x_t, t, x_start)
    now = process.at("alphas_cumprod", t, x_t)
    then = process.at("alphas_cumprod_prev", t, x_t)
    sigma = eta * ((1 - then) / (1 - now)).sqrt() * (1 - now / then).sqrt()
    mean = then.sqrt() * x_start + (1 - then - sigma**2).sqrt() * direction
    return mean + _above_zero(t, x_t) * sigma * noise


def _above_zero(t: Tensor, like: Tensor) -> Tensor:
    """1 where t > 0, else 0, as [B, 1, ...]."""
    return (t > 0).to(torch.float32).view(-1, *[1] * (like.dim() - 1))
