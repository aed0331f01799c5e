"""LTX-Video: text to video, which also goes on from given frames.

Axes: B batch, C latent channels, T H W latent size, L text tokens, D text channels.

Source: HaCohen et al. 2024, arXiv:2501.00103.
"""

from typing import Any, ClassVar

from torch import Tensor, nn

from opensora.models.open.family import OpenTransformer, register_family


@register_family("LTXVideoTransformer3DModel")
class LTX(OpenTransformer):
    """diffusers' LTXVideoTransformer3DModel; predicts noise minus data, of captions read by T5.

    A latent value is a token. Its place is that in the video, in seconds and pixels. Given frames
    are tokens of timestep 0, as the family was trained with the first frame.
    """

    text_encoder_type: ClassVar[str] = "t5-ltx"
    keeps_frames = True

    def settle(self) -> None:
        """Set the attributes from `config`."""
        config: Any = self.config
        self.in_channels, self.out_channels = int(config.in_channels), int(config.out_channels)
        self.patch_size = (1, 1, 1)
        self.caption_channels = int(config.caption_channels)

    @property
    def x_embedder(self) -> nn.Module:
        """What embeds the tokens."""
        return self.get_submodule("proj_in")

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        y: Tensor,
        mask: Tensor,
        *,
        num_frames: Tensor,
        height: Tensor,
        width: Tensor,
        fps: Tensor,
        x_mask: Tensor | None = None,
        **_: Tensor | None,
    ) -> Tensor:
        """Predict noise minus data.

        Args:
            x: noised latents [B, C, T, H, W].
            timestep: [B] in [0, 1000].
            y: text embeddings [B, 1, L, D].
            mask: [B, L], nonzero = token of the text.
            num_frames: [B] frames of the video.
            height: [B] pixels.
            width: [B] pixels.
            fps: [B] frames per second.
            x_mask: bool [B, T], True = noised frame; None = all are.
            **_: conditions of other models.

        Returns:
            [B, C, T, H, W] float32.
        """
        x = x.to(self.dtype)
        T, H, W = x.shape[2:]
        if x_mask is not None:
            timestep = self.of_tokens(timestep, x_mask, x)
        steps = (num_frames - 1) / max(T - 1, 1) / fps, height / H, width / W
        network: Any = super()
        output = network.forward(
            x.flatten(2).transpose(1, 2),  # [B, T H W, C]
            y[:, 0].to(x.dtype),
            timestep,
            mask,
            *(T, H, W),
            rope_interpolation_scale=[step.view(-1, 1, 1, 1, 1) for step in steps],
            return_dict=False,
        )[0]
        return output.transpose(1, 2).unflatten(2, (T, H, W)).float()  # type: ignore[no-any-return]
