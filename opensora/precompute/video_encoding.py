"""How clips become latents. Nothing here loads torch."""

from dataclasses import dataclass
from typing import Any

from opensora.core.errors import ConfigError
from opensora.core.versions import VERSIONS
from opensora.stores.keys import address_of

SAMPLE = "sample"  # posterior of which one draw is stored


@dataclass(frozen=True, kw_only=True)
class VideoEncoding:
    """How clips become latents.

    Attributes:
        dtype: "bf16" or "fp32": type of the stored latents, and of the autoencoder on a GPU (on a
            CPU it computes in fp32).
        posterior: "sample" (each clip has its own noise, from the seed and its content: a renamed
            clip keeps its latent), "mean", or "moments" (mean and deviation, from which training
            draws anew in every epoch).
        seed: base of the posterior noise.
        batch_size: frames per forward; changes speed, memory and the last bits only.
        min_psnr: the gate: least mean PSNR in dB of decoded latents, per bucket.
        given: which frames a model begins with ("first", "first_last"), whose latents are stored
            beside those of the clip; None = none.
        image_encoder: hash of what embeds these frames; None = nothing does.
    """

    dtype: str = "bf16"
    posterior: str = SAMPLE
    seed: int = 42
    batch_size: int = 16
    min_psnr: float = 15.0
    given: str | None = None
    image_encoder: str | None = None

    def __post_init__(self) -> None:
        """Refuse an encoder of frames that are not given."""
        if self.image_encoder is not None and self.given is None:
            raise ConfigError("--image-encoder has no effect without --given; leave it out")

    def address(self, encoder: str) -> str:
        """Where the latents of an encoder with this hash stand in the store."""
        return address_of({"encoder": encoder, **self._settings()})

    def identity(self, vae: Any) -> dict[str, Any]:
        """What must agree between the latents of one training run."""
        return {**vae.identity(), **self._settings()}

    def _settings(self) -> dict[str, Any]:
        noise = {"seed": self.seed} if self.posterior == SAMPLE else {}
        own = {"dtype": self.dtype, "posterior": self.posterior}
        beside = {"given": self.given, "image_encoder": self.image_encoder}
        told = {name: value for name, value in beside.items() if value is not None}
        return {**own, "version": VERSIONS["encode_videos"], **noise, **told}
