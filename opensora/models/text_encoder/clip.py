"""The text half of CLIP as a frozen encoder: one vector per caption.

Axes: B captions, D channels.
"""

import torch
from torch import Tensor

from opensora.core.registry import MODELS
from opensora.models.pretrained import load_network, parse_dtype
from opensora.models.text_encoder.base import TextEncoder


@MODELS.register_module("clip")
class ClipTextEncoder(TextEncoder):
    """Clean captions to one pooled embedding each.

    Args:
        from_pretrained: folder in the transformers format, or a hub name.
        model_max_length: longer captions are cut.
        dtype: type of the weights, a torch type or "fp32", "bf16", "fp16".
        device: where the encoder runs.

    Raises:
        CheckpointError: the folder can not be loaded.

    Source: Radford et al. 2021, arXiv:2103.00020.
    """

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 77,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        # The registry imports this module for every model, and transformers takes seconds.
        from transformers import CLIPTextModel

        super().__init__("clip", from_pretrained, model_max_length)
        self.network = load_network(
            CLIPTextModel.from_pretrained, self.folder, kind="clip", dtype=parse_dtype(dtype)
        ).to(device)
        self.output_dim = int(self.network.config.hidden_size)

    @torch.no_grad()
    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Embed B clean captions: `y` [B, 1, 1, D] in the encoder's type."""
        ids, mask = self.tokenize(text)
        pooled = self.network(input_ids=ids, attention_mask=mask).pooler_output
        return {"y": pooled[:, None, None]}
