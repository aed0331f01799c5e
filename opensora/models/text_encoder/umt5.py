"""UMT5 as a frozen text encoder, as Wan reads captions with.

Axes: B captions, L tokens, D channels.
"""

import torch
from torch import Tensor

from opensora.config.registry import MODELS
from opensora.models.device import parse_dtype
from opensora.models.text_encoder.base import OpenTextEncoder


@MODELS.register_module("umt5")
class UMT5Encoder(OpenTextEncoder):
    """Clean captions to one embedding per token, zero beyond the end of each.

    Args:
        from_pretrained: folder in the transformers format, or of a pipeline of diffusers with
            `text_encoder/` and `tokenizer/`, or a hub name.
        model_max_length: L; longer captions are cut.
        dtype: type of the weights, a torch type or "fp32", "bf16", "fp16".
        device: where the encoder runs.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.

    Source: Chung et al. 2023, arXiv:2304.09151; Wan Team 2025, arXiv:2503.20314.
    """

    any_length = True  # a caption's tokens do not depend on how far it is padded, up to rounding

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 512,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        from transformers import UMT5EncoderModel  # takes seconds, see t5.py

        super().__init__("umt5", from_pretrained, model_max_length, cache_dir, local_files_only)
        network = self.load_network(UMT5EncoderModel.from_pretrained, parse_dtype(dtype))
        self.network = network.to(device)
        self.output_dim = int(self.network.config.d_model)

    @torch.no_grad()
    def encode(self, text: list[str], length: int | None = None) -> dict[str, Tensor]:
        """Embed B clean captions.

        Args:
            text: captions.
            length: L; longer ones are cut; None = `model_max_length`.

        Returns:
            `y` [B, 1, L, D] in the encoder's type, zero where `mask` [B, L] int64 is; both on the
            encoder's device.
        """
        ids, mask = self.tokenize(text, length)
        y = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        return {"y": (y * mask[..., None].to(y))[:, None], "mask": mask}
