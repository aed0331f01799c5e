"""What the families of open transformers share: diffusers' network, called as models are here.

A family is a mixin in front of the class of diffusers, so that weights keep their names there, and
whatever is saved loads where it came from.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from opensora.core.errors import ConfigError

FAMILIES: dict[str, type["OpenTransformer"]] = {}  # class in diffusers -> family

Family = TypeVar("Family", bound="OpenTransformer")


def register_family(network: str) -> Callable[[type[Family]], type[Family]]:
    """Register a family under its transformer's class in diffusers."""

    def register(family: type[Family]) -> type[Family]:
        FAMILIES[network] = family
        return family

    return register


class OpenTransformer(nn.Module):
    """Base of the families; each says in `forward` how its network is called.

    Attributes:
        text_encoder_type: registered name of what reads its captions.
        in_channels: C, of the latents.
        out_channels: channels predicted.
        patch_size: latent frames, rows and columns of one token.
        caption_channels: channels of its text embeddings.
        y_embedder: none; "no prompt" is the text encoder's, of an empty text.
        keeps_frames: whether frames can be given, which are not noised.
        given_modes: which given frames it reads beside the noise, as `encode.given` names them.
        reads_pictures: whether it also reads embeddings of them.
        shares_tokens: several workers can not share a video.
        graphs_per_size: compiled graphs that the blocks need for one size of a batch.
        part: which transformer of its pipeline it is.
        boundary: where the noise of two transformers meets, as a share of all timesteps; None of
            one that takes all.
    """

    text_encoder_type: ClassVar[str]
    keeps_frames: bool = False
    given_modes: tuple[str, ...] = ()
    reads_pictures: bool = False
    shares_tokens: ClassVar[bool] = False
    graphs_per_size: ClassVar[int] = 1
    y_embedder: None = None
    part: str = "transformer"
    boundary: float | None = None
    config: Any  # of diffusers
    dtype: torch.dtype  # of the weights, likewise
    in_channels: int
    out_channels: int
    patch_size: tuple[int, int, int]
    caption_channels: int

    def settle(self) -> None:
        """Set the attributes from `config`."""
        raise NotImplementedError

    @property
    def x_embedder(self) -> nn.Module:
        """What embeds the patches."""
        raise NotImplementedError

    @property
    def all_blocks(self) -> list[nn.Module]:
        """The blocks in every list of the model."""
        lists = [child for child in self.children() if isinstance(child, nn.ModuleList)]
        return [block for blocks in lists for block in blocks]

    def check_text_encoder(self, kind: str) -> None:
        """Refuse texts of another encoder than the family reads.

        Raises:
            ConfigError: names both.
        """
        if kind != self.text_encoder_type:
            raise ConfigError(
                f"model: {type(self).__name__} reads texts of {self.text_encoder_type!r} and these"
                f" are of {kind!r}; encode captions and prompts with {self.text_encoder_type!r}"
            )

    def check_given(self, given: str | None, *, has_pictures: bool) -> None:
        """Refuse other given frames beside the noise than the model reads.

        Args:
            given: which are, as `encode.given` names them; None = none.
            has_pictures: embeddings of them are given as well.

        Raises:
            ConfigError: says what to set.
        """
        kind, wanted = type(self).__name__, " or ".join(self.given_modes)
        if given is None and self.given_modes:
            raise ConfigError(
                f"model: this {kind} makes videos of given frames and the latents have none; encode"
                f" with --given {wanted} (encode.given of a workflow)"
            )
        if given is not None and given not in self.given_modes:
            how = f"with --given {wanted}" if wanted else "without --given"
            raise ConfigError(
                f"model: the latents have given frames ({given}) and this {kind} reads"
                f" {wanted or 'none'}; encode {how} (encode.given of a workflow)"
            )
        if given is not None and has_pictures != self.reads_pictures:
            raise ConfigError(
                f"model: this {kind} {'reads' if self.reads_pictures else 'does not read'}"
                " embeddings of given frames; encode"
                f" {'with' if self.reads_pictures else 'without'} --image-encoder"
                " (encode.image_encoder of a workflow)"
            )

    def check_online(self) -> None:
        """Refuse training from videos, which encodes no given frames beside the clips.

        Raises:
            ConfigError: says what to do.
        """
        if self.given_modes:
            wanted = " or ".join(self.given_modes)
            raise ConfigError(
                f"model: this {type(self).__name__} makes videos of given frames, which training"
                f" from videos does not encode; store them with encode-videos --given {wanted}"
                " (encode.given of a workflow, without online) and train from the stores"
            )

    def blank_conditions(self, x: Tensor) -> dict[str, Tensor]:
        """What is read besides texts and sizes, without content, for latents [B, C, T, H, W]."""
        return {}

    def check_size(self, x: Tensor) -> None:
        """Refuse latents [B, C, T, H, W] that are not whole patches, of which some would be lost.

        Raises:
            ConfigError: names the side.
        """
        self._check_sides(x.shape[2:], "")

    def check_buckets(self, sizes: Mapping[str, Sequence[int]]) -> None:
        """Refuse buckets, each with its latent size (T, H, W), that are not whole patches.

        Raises:
            ConfigError: names the bucket and the side.
        """
        for bucket, size in sizes.items():
            self._check_sides(size, f" of bucket {bucket}")

    def of_tokens(self, timestep: Tensor, x_mask: Tensor, x: Tensor) -> Tensor:
        """A timestep for each token of x, 0 in given frames.

        Args:
            timestep: [B].
            x_mask: bool [B, T], True = noised frame.
            x: latents [B, C, T, H, W].

        Returns:
            [B, S] of the S tokens of a video.
        """
        patch_t, patch_h, patch_w = self.patch_size
        tokens = (x.shape[3] // patch_h) * (x.shape[4] // patch_w)  # of a frame
        return (timestep[:, None] * x_mask[:, ::patch_t]).repeat_interleave(tokens, dim=1)

    def _check_sides(self, size: Sequence[int], where: str) -> None:
        for name, side, patch in zip(("T", "H", "W"), size, self.patch_size, strict=True):
            if side % patch:
                raise ConfigError(
                    f"model: {type(self).__name__} has patches of {patch} latent values and {name}"
                    f"{where} is {side}; choose sizes in bucket_config or image_size whose latents"
                    f" are multiples of {patch}"
                )

    def set_grad_checkpoint(self, enabled: bool = True) -> None:
        """Recompute each block in the backward pass instead of storing what is inside it."""
        switch: Any = self
        if enabled:
            switch.enable_gradient_checkpointing()
        else:
            switch.disable_gradient_checkpointing()

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Compile each block where it stands; blocks of one kind and size share a graph."""
        for block in self.all_blocks:
            block.compile(backend=backend, dynamic=False)
