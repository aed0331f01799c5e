"""Two transformers of one pipeline, one for much noise and one for little: Wan 2.2 A14B.

In diffusers `transformer` denoises from pure noise down to `boundary_ratio` of all timesteps, and
`transformer_2` from there on.
"""

from pathlib import Path

from torch import Tensor, nn

from opensora.config.latent_grid import PIPELINE
from opensora.core.errors import ConfigError
from opensora.core.io import read_json
from opensora.models.open.family import OpenTransformer

PART, SECOND = "transformer", "transformer_2"  # of much and of little noise
Band = tuple[float, float]
_TIMESTEPS = 1000  # of pure noise, in all families


def check_part(part: str) -> None:
    """Refuse what is no transformer of a pipeline.

    Raises:
        ConfigError: names both.
    """
    if part not in (PART, SECOND):
        raise ConfigError(f"model.part is {part!r}; expected {PART!r} or {SECOND!r}")


def other_part(part: str) -> str:
    """The transformer that takes the other noise."""
    return PART if part == SECOND else SECOND


def read_boundary(folder: Path) -> float | None:
    """Where the two transformers of a pipeline meet, as a share of all timesteps.

    Args:
        folder: of one of its transformers.

    Returns:
        None for a pipeline of one transformer, and for a folder that lies in no pipeline.
    """
    file = folder.parent / PIPELINE
    fields = read_json(file) if folder.name in (PART, SECOND) and file.is_file() else {}
    has_second = isinstance(fields, dict) and None not in fields.get(SECOND, [None])
    return fields.get("boundary_ratio") if has_second else None


def limit(model: OpenTransformer, part: str | None, boundary: float | None) -> None:
    """Tell a transformer which it is, and so which noise it takes.

    Args:
        model: of a pipeline.
        part: which transformer; None is that of a pipeline of one.
        boundary: of a pipeline of two, as a share of all timesteps.

    Raises:
        ConfigError: one of two that is not named, or a second one without the other.
    """
    if boundary is None:
        if part == SECOND:
            raise ConfigError(
                f"model.part is {SECOND!r} and nothing says where its noise begins; give the folder"
                " of a pipeline of two transformers, or model.boundary"
            )
        return
    if not 0 < boundary < 1:
        raise ConfigError(f"model.boundary is {boundary}; expected a share of all timesteps, 0.875")
    if part is None:
        raise ConfigError(
            f"model: its pipeline has two transformers, one for the noise above {boundary} and one"
            f" for that below; name the one that is meant, model.part={PART!r} or {SECOND!r}"
        )
    model.part, model.boundary = part, float(boundary)


def noise_band(model: nn.Module) -> Band | None:
    """Lowest and highest noise that a model takes, in [0, 1]; None is all of it."""
    boundary = getattr(model, "boundary", None)
    if boundary is None or isinstance(model, TwoBands):
        return None
    return (0.0, boundary) if getattr(model, "part", PART) == SECOND else (boundary, 1.0)


class TwoBands(OpenTransformer):
    """Both transformers as the one model that sampling sees.

    Args:
        high: of much noise.
        low: of little.

    Raises:
        ConfigError: both are the same one, or they do not fit each other.
    """

    def __init__(self, high: OpenTransformer, low: OpenTransformer) -> None:
        super().__init__()
        for name in ("in_channels", "out_channels", "patch_size", "caption_channels"):
            ours, its = getattr(high, name), getattr(low, name)
            if ours != its:
                raise ConfigError(
                    f"model.other: its {name} is {its} and that of the model is {ours}; give the"
                    " other transformer of the same pipeline"
                )
            setattr(self, name, ours)
        self.high, self.low, self.boundary = high, low, high.boundary
        names = ("text_encoder_type", "keeps_frames", "given_modes", "reads_pictures")
        for name in (*names, "graphs_per_size"):
            setattr(self, name, getattr(high, name))
        self.dtype = high.dtype

    @property
    def x_embedder(self) -> nn.Module:
        """What embeds the patches of much noise."""
        return self.high.x_embedder

    @property
    def all_blocks(self) -> list[nn.Module]:
        """The blocks of both."""
        return [*self.high.all_blocks, *self.low.all_blocks]

    def set_grad_checkpoint(self, enabled: bool = True) -> None:
        """Of both."""
        for model in (self.high, self.low):
            model.set_grad_checkpoint(enabled)

    def forward(self, x: Tensor, timestep: Tensor, **conditions: Tensor | None) -> Tensor:
        """What the one whose noise it is predicts.

        Args:
            x: noised latents [B, C, T, H, W].
            timestep: [B] in [0, 1000], the same for all samples.
            **conditions: of both models.

        Returns:
            [B, C, T, H, W] float32.
        """
        assert self.boundary is not None
        is_high = bool((timestep.flatten()[0] >= self.boundary * _TIMESTEPS).item())
        output: Tensor = (self.high if is_high else self.low)(x, timestep, **conditions)
        return output


def both(model: OpenTransformer, other: OpenTransformer) -> TwoBands:
    """Put two transformers together, whichever comes first.

    Raises:
        ConfigError: both are the same one, meet elsewhere, or do not fit each other.
    """
    parts, wanted = {model.part: model, other.part: other}, other_part(model.part)
    if len(parts) == 1 or model.boundary != other.boundary:
        raise ConfigError(
            f"model.other is a {other.part!r} whose noise meets the other's at {other.boundary},"
            f" and the model a {model.part!r} at {model.boundary}; give the {wanted!r} of the same"
            " pipeline"
        )
    return TwoBands(parts[PART], parts[SECOND])
