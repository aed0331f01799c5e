"""T5 as LTX-Video and CogVideoX read captions with: padding is part of the text that it reads.

So an embedding depends on how far its caption was padded, and the length is that of the family.

Axes: B captions, L tokens, D channels.
"""

from typing import ClassVar

import torch
from torch import Tensor

from opensora.config.registry import MODELS
from opensora.models.device import parse_dtype
from opensora.models.text_encoder.base import OpenTextEncoder


class PaddedT5Encoder(OpenTextEncoder):
    """Base: clean captions, padded, to one embedding per token and place of padding.

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

    Source: Raffel et al. 2020, arXiv:1910.10683.
    """

    registered: ClassVar[str]

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        from transformers import T5EncoderModel  # takes seconds, see t5.py

        super().__init__(
            self.registered, from_pretrained, model_max_length, cache_dir, local_files_only
        )
        network = self.load_network(T5EncoderModel.from_pretrained, parse_dtype(dtype))
        self.network = network.to(device)
        self.output_dim = int(self.network.config.d_model)

    def read(self, text: list[str]) -> tuple[Tensor, Tensor]:
        """Embeddings [B, 1, L, D] of captions and their padding, and where tokens are, [B, L]."""
        ids, mask = self.tokenize(text)
        return self.network(input_ids=ids).last_hidden_state[:, None], mask


@MODELS.register_module("t5-ltx")
class LTXTextEncoder(PaddedT5Encoder):
    """As LTX-Video: padding is read, and masked in the transformer. As PaddedT5Encoder.

    Source: HaCohen et al. 2024, arXiv:2501.00103.
    """

    registered: ClassVar[str] = "t5-ltx"

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 128,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        super().__init__(
            from_pretrained, model_max_length, dtype, device, cache_dir, local_files_only
        )

    @torch.no_grad()
    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Embed B clean captions: `y` [B, 1, L, D] and `mask` [B, L] int64, 1 = token."""
        y, mask = self.read(text)
        return {"y": y, "mask": mask}


@MODELS.register_module("t5-cogvideox")
class CogVideoXTextEncoder(PaddedT5Encoder):
    """As CogVideoX: padding is text to the transformer as well. As PaddedT5Encoder.

    Source: Yang et al. 2024, arXiv:2408.06072.
    """

    registered: ClassVar[str] = "t5-cogvideox"

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 226,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        super().__init__(
            from_pretrained, model_max_length, dtype, device, cache_dir, local_files_only
        )

    @torch.no_grad()
    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Embed B clean captions: `y` [B, 1, L, D], of which all L places are read."""
        return {"y": self.read(text)[0]}
