"""Improved DDPM on latents: training losses and ancestral or implicit sampling."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from opensora.config.registry import SCHEDULERS
from opensora.core.errors import ConfigError
from opensora.schedulers.common import (
    Conditions,
    DeviceTables,
    Generators,
    Model,
    add_frame_mask,
    draw_noise,
    frame_view,
    mean_per_sample,
)
from opensora.schedulers.guidance import GuidedModel
from opensora.schedulers.iddpm.betas import beta_schedule
from opensora.schedulers.iddpm.losses import variational_bound
from opensora.schedulers.iddpm.process import GaussianProcess, VarianceKind
from opensora.schedulers.iddpm.respace import respaced_betas, space_timesteps
from opensora.schedulers.iddpm.steps import ddim_step, ddpm_step
from opensora.schedulers.sampling import Display, Sampler

SampleMethod = Literal["ddpm", "ddim"]


@SCHEDULERS.register_module("iddpm")
class IDDPM(Sampler):
    """Diffusion over a chain of `diffusion_steps`, sampled over a shorter one.

    Differences from Open-Sora 1.1 stand in docs/schedulers.md.

    Args:
        num_sampling_steps: length of the chain in use; replaces timestep_respacing.
        timestep_respacing: "" for the full chain, "100", "10,15,20" or "ddim50".
        noise_schedule: name of the betas.
        use_kl: train on the variational bound alone.
        sigma_small: the fixed variance is the posterior's instead of beta.
        predict_xstart: the network predicts the data instead of the noise.
        learn_sigma: the network's second half of channels gives the variance.
        rescale_learned_sigmas: scale the bound by the length of the chain / 1000.
        diffusion_steps: length of the full chain.
        cfg_scale: guidance scale; 1 skips the unconditional half.
        cfg_channel: latent channels that are guided, counted from the first; None = all.
        sample_method: "ddpm" (ancestral) or "ddim" (implicit).
        eta: noise of "ddim" between 0 (none) and 1 (as much as "ddpm").

    Raises:
        ConfigError: fields out of range or excluding each other.

    Source: Nichol and Dhariwal 2021, arXiv:2102.09672.
    """

    def __init__(
        self,
        num_sampling_steps: int | None = None,
        timestep_respacing: str | Sequence[int] | None = None,
        noise_schedule: str = "linear",
        use_kl: bool = False,
        sigma_small: bool = False,
        predict_xstart: bool = False,
        learn_sigma: bool = True,
        rescale_learned_sigmas: bool = False,
        diffusion_steps: int = 1000,
        cfg_scale: float = 4.0,
        cfg_channel: int | None = None,
        sample_method: SampleMethod = "ddpm",
        eta: float = 0.0,
    ) -> None:
        if sample_method not in ("ddpm", "ddim"):
            raise ConfigError(
                f"scheduler iddpm: sample_method is {sample_method!r}; use 'ddpm' or 'ddim'."
            )
        if eta and sample_method == "ddpm":
            raise ConfigError("scheduler iddpm: eta has no effect on 'ddpm'; drop it.")
        if use_kl and not learn_sigma:
            raise ConfigError("scheduler iddpm: use_kl needs learn_sigma; set both or neither.")
        if learn_sigma and sigma_small:
            raise ConfigError(
                "scheduler iddpm: sigma_small has no effect with learn_sigma; drop it."
            )
        if num_sampling_steps is not None:
            timestep_respacing = str(num_sampling_steps)
        betas = beta_schedule(noise_schedule, diffusion_steps)
        self.timestep_map = space_timesteps(
            diffusion_steps, timestep_respacing or str(diffusion_steps)
        )
        kind: VarianceKind = "fixed_small" if sigma_small else "fixed_large"
        self.process = GaussianProcess(
            respaced_betas(betas, self.timestep_map),
            mean_kind="data" if predict_xstart else "noise",
            variance_kind="learned" if learn_sigma else kind,
        )
        self._map = DeviceTables(timesteps=torch.tensor(self.timestep_map))
        self.num_timesteps = len(self.process)
        self.use_kl = use_kl
        self.learn_sigma = learn_sigma
        self.bound_scale = self.num_timesteps / 1000 if rescale_learned_sigmas else 1.0
        self.cfg_scale = cfg_scale
        self.cfg_channel = cfg_channel
        self.sample_method: SampleMethod = sample_method
        self.eta = eta

    def model_timesteps(self, t: Tensor) -> Tensor:
        """Timesteps of the full chain, which the network knows, for indices t [B] in use."""
        return self._map.on(t.device, "timesteps")[t]

    def draw_timesteps(
        self, num_samples: int, device: torch.device | str, generator: torch.Generator | None
    ) -> Tensor:
        """Draw training indices [num_samples], each equally likely."""
        source = generator.device if generator is not None else device
        shape = (num_samples,)
        t = torch.randint(0, self.num_timesteps, shape, generator=generator, device=source)
        return t.to(device)

    def loss_weights(self, device: torch.device) -> Tensor | None:
        """Factors of the squared error [num_timesteps], on a device; None = all 1."""
        return None

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
        """Squared error of the prediction, plus the variational bound of a learned variance.

        Args:
            model: predicts noise (or data) and, with learn_sigma, the variance.
            x_start: clean latents [B, C, T, H, W].
            t: [B] indices of the chain in use; drawn when absent.
            model_kwargs: conditions of the model.
            mask: bool [B, T], True = noised frame. Clean frames stay clean, are named to the model
                as x_mask and stay out of the loss.
            noise: as x_start; drawn when absent.
            weights: [num_timesteps] factors of the squared error; those of `loss_weights` when
                absent.
            generator: source of t and noise.

        Returns:
            loss [B]; mse [B] and vb [B] where they are its parts.
        """
        if t is None:
            t = self.draw_timesteps(len(x_start), x_start.device, generator)
        if noise is None:
            noise = draw_noise(x_start, generator)
        x_t = self.process.q_sample(x_start, t, noise)
        if mask is not None:
            x_t = torch.where(frame_view(mask.bool()), x_t, x_start)
        output = model(x_t, self.model_timesteps(t), **add_frame_mask(model_kwargs, mask))
        if self.use_kl:
            bound = variational_bound(self.process, output, x_start, x_t, t, mask)
            return {"loss": bound * self.num_timesteps}

        channels = x_start.shape[1]
        value = output[:, :channels]
        target = x_start if self.process.mean_kind == "data" else noise
        mse = mean_per_sample((target - value).square(), mask)  # [B]
        weights = self.loss_weights(t.device) if weights is None else weights
        if weights is not None:
            mse = mse * weights.to(mse)[t]
        if not self.learn_sigma:
            return {"loss": mse, "mse": mse}
        # the bound teaches the variance only: the mean does not feel it
        frozen = torch.cat([value.detach(), output[:, channels:]], dim=1)
        bound = variational_bound(self.process, frozen, x_start, x_t, t, mask) * self.bound_scale
        return {"loss": mse + bound, "mse": mse, "vb": bound}

    def walk(
        self,
        network: GuidedModel,
        z: Tensor,
        mask: Tensor | None,
        generator: Generators,
        display: Display,
    ) -> Tensor:
        """Every index of the chain, from the last; see `Sampler.walk`.

        A frame with a mask value m between 0 and 1 joins at index int(m * N).
        """
        joins = None if mask is None else (mask * self.num_timesteps).int()  # [B, T]
        for index in display(range(self.num_timesteps - 1, -1, -1)):
            t = torch.full((len(z),), index, device=z.device)
            kept, live = z, None
            if joins is not None:
                # 1. frames whose index is reached are noised to it; those above are live
                noised = self.process.q_sample(kept, t, draw_noise(kept, generator))
                z = torch.where(frame_view((joins == index) & (joins > 0)), noised, kept)
                live = joins > index
            # 2. the network's output, guided by the prompt
            timesteps = self.model_timesteps(t)
            output = network(z, timesteps, x_mask=live, channels=self.cfg_channel, variance=True)
            network.tell(partial(self._estimate, output, z, t, live))
            # 3. one step back; frames that have not joined are put back
            z = self._step(output, z, t, draw_noise(z, generator))
            if joins is not None:
                z = torch.where(frame_view((joins >= index) & (joins > 0)), z, kept)
        return z

    def _estimate(self, output: Tensor, z: Tensor, t: Tensor, live: Tensor | None) -> Tensor:
        """The data that an output stands for; frames that are not live stay."""
        data = self.process.p_mean_variance(output, z, t).pred_xstart
        return data if live is None else torch.where(frame_view(live), data, z)

    def _step(self, output: Tensor, z: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        if self.sample_method == "ddim":
            return ddim_step(self.process, output, z, t, noise, eta=self.eta)
        return ddpm_step(self.process, output, z, t, noise)
