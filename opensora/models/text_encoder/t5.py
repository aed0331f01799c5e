"""T5 as a frozen text encoder.

Axes: B captions, L tokens, D channels.
"""

import torch
from torch import Tensor

from opensora.core.registry import MODELS
from opensora.models.pretrained import load_network, parse_dtype
from opensora.models.text_encoder.base import TextEncoder


@MODELS.register_module("t5")
class T5Encoder(TextEncoder):
    """Clean captions to one embedding per token.

    Args:
        from_pretrained: folder in the transformers format, or a hub name. A folder whose
            tokenizer_config.json names ByT5Tokenizer is read byte by byte.
        model_max_length: L; longer captions are cut.
        dtype: type of the weights, a torch type or "fp32", "bf16", "fp16".
        device: where the encoder runs.

    Raises:
        CheckpointError: the folder can not be loaded.

    Source: Raffel et al. 2020, arXiv:1910.10683; Xue et al. 2022, arXiv:2105.13626 (ByT5).
    """

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 120,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        # The registry imports this module for every model, and transformers takes seconds.
        from transformers import T5EncoderModel

        super().__init__("t5", from_pretrained, model_max_length)
        self.network = load_network(
            T5EncoderModel.from_pretrained, self.folder, kind="t5", dtype=parse_dtype(dtype)
        ).to(device)
        self.output_dim = int(self.network.config.d_model)

    @torch.no_grad()
    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Embed B clean captions.

        Returns:
            `y` [B, 1, L, D] in the encoder's type and `mask` [B, L] int64, 1 = token; both on
            the encoder's device.
        """
        ids, mask = self.tokenize(text)
        y = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        return {"y": y[:, None], "mask": mask}
