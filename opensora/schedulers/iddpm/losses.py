"""Losses of the diffusion process: squared error and variational bound, in bits per dimension."""

import math

import torch
from torch import Tensor

from opensora.schedulers.common import mean_per_sample
from opensora.schedulers.iddpm.process import GaussianProcess

_BITS = 1 / math.log(2)  # nats to bits
_HALF_BIN = 1 / 255  # half of an 8-bit level when values span [-1, 1]
_EDGE = 0.999  # values beyond are in the outermost level
_TINY = 1e-12  # smallest probability whose logarithm is taken


def variational_bound(
    process: GaussianProcess,
    output: Tensor,
    x_start: Tensor,
    x_t: Tensor,
    t: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """One term of the variational bound per sample, in bits per dimension: [B].

    The divergence of the true step back from the network's; at index 0 the likelihood of the data
    in 8-bit levels.

    Args:
        process: tables of the chain in use.
        output: of the network at x_t.
        x_start: clean latents [B, C, T, H, W].
        x_t: noised latents.
        t: [B] indices of the chain.
        mask: bool [B, T], frames that count.

    Source: Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 4 to 7.
    """
    step = process.p_mean_variance(output, x_t, t)
    true_mean = process.q_posterior_mean(x_start, x_t, t)
    true_log_variance = process.at("posterior_log_variance_clipped", t, x_t)
    divergence = normal_kl(true_mean, true_log_variance, step.mean, step.log_variance)
    likelihood = discretized_log_likelihood(x_start, step.mean, 0.5 * step.log_variance)
    return _BITS * torch.where(
        t == 0, -mean_per_sample(likelihood, mask), mean_per_sample(divergence, mask)
    )


def normal_kl(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """Divergence of one diagonal Gaussian from another, in nats, elementwise."""
    return 0.5 * (
        log_variance2
        - log_variance1
        - 1
        + (log_variance1 - log_variance2).exp()
        + (mean1 - mean2).square() * (-log_variance2).exp()
    )


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log probability of the 8-bit level that holds x in [-1, 1], in nats, elementwise.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 13.
    """
    upper = _normal_cdf((x - mean + _HALF_BIN) * (-log_scale).exp())
    lower = _normal_cdf((x - mean - _HALF_BIN) * (-log_scale).exp())
    probability = torch.where(x < -_EDGE, upper, torch.where(x > _EDGE, 1 - lower, upper - lower))
    return probability.clamp(min=_TINY).log()


def _normal_cdf(x: Tensor) -> Tensor:
    """Distribution function of the standard normal (Page 1977, as in the published losses)."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
