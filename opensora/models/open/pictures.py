"""Given frames as models with an input for them read them: latents beside the noise, and CLIP.

Axes: B videos, n given frames, C latent channels, T frames (t of latents), H W pixels, P tokens of
a picture, D their channels.
"""

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from opensora.config.given_frames import FIRST_LAST
from opensora.media.frames import to_uint8
from opensora.models.weights.folders import encoder_sha256, picture_folders
from opensora.models.weights.pretrained import load_network, load_parts

GIVEN, PICTURE, NUM_GIVEN = "given", "picture", "num_given"  # names of conditions


class PictureEncoder:
    """The CLIP of an image-to-video pipeline: its last layer but one, of every token.

    Args:
        from_pretrained: folder of a pipeline of diffusers, with `image_encoder` and
            `image_processor`, or one that holds the files of both, or a hub name.
        device: where it goes; its weights are float32 everywhere.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: a part is not there, or is another network.
    """

    def __init__(
        self,
        from_pretrained: str,
        device: str | torch.device = "cpu",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        import transformers  # takes seconds

        weights, settings = picture_folders(from_pretrained, cache_dir, local_files_only)
        load = transformers.CLIPVisionModel.from_pretrained
        self._network = load_network(load, weights, kind="image encoder", dtype=torch.float32)
        self._network.to(device)
        self._processor: Any = load_parts(
            lambda: transformers.CLIPImageProcessor.from_pretrained(settings),
            settings,
            kind="image processor",
        )
        self._device, self._sha256 = device, encoder_sha256(weights, settings)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Embed frames [B, n, 3, H, W] in [-1, 1]: float32 [B, n, P, D] on the encoder's device."""
        shown = to_uint8(frames.flatten(0, 1).transpose(0, 1))  # [B n, H, W, 3]
        pictures = [Image.fromarray(picture) for picture in shown]
        pixels = self._processor(images=pictures, return_tensors="pt").pixel_values
        states = self._network(pixels.to(self._device), output_hidden_states=True).hidden_states
        return states[-2].unflatten(0, frames.shape[:2])  # type: ignore[no-any-return]

    def identity(self) -> dict[str, str]:
        """What its embeddings depend on."""
        return {"type": "clip-vision", "sha256": self._sha256}


def given_places(given: str, num_frames: int) -> list[int]:
    """Places in a video of the frames that are given, as `encode.given` names them."""
    return [0, num_frames - 1] if given == FIRST_LAST else [0]


@torch.no_grad()
def encode_given(
    vae: Any, pictures: PictureEncoder | None, video: Tensor, given: str
) -> dict[str, Tensor]:
    """What a model is told of the given frames of videos.

    Args:
        vae: encodes videos.
        pictures: embeds frames; None where the model reads no embedding of them.
        video: [B, 3, T, H, W] in [-1, 1]; other frames than the given ones are not looked at.
        given: "first" or "first_last".

    Returns:
        `given` [B, C, t, h, w]: latents of the video whose other frames are grey; and `picture`
        [B, n, P, D] where there are embeddings.
    """
    places = given_places(given, video.shape[2])
    shown = torch.zeros_like(video)
    shown[:, :, places] = video[:, :, places]
    found = {GIVEN: vae.encode(shown, posterior="mean")}
    if pictures is not None:
        found[PICTURE] = pictures.encode(video[:, :, places].transpose(1, 2))
    return found


def mark_given(num_given: Tensor, like: Tensor, frames_per_latent: int) -> Tensor:
    """Channels that are 1 where a frame is given.

    Args:
        num_given: [B], 1 = the first frame, 2 = the first and the last.
        like: latents [B, C, t, h, w].
        frames_per_latent: F, frames of a latent frame, each of which has a channel; the first
            latent frame is that of one frame.

    Returns:
        [B, F, t, h, w].
    """
    marks = like.new_zeros(len(like), frames_per_latent, *like.shape[2:])
    marks[:, :, 0] = 1
    last = marks[:, -1, -1]  # [B, h, w]
    marks[:, -1, -1] = torch.where(num_given.view(-1, 1, 1) > 1, torch.ones_like(last), last)
    return marks
