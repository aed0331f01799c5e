"""The two encoders that HunyuanVideo 1.5 reads captions with, as one.

Qwen2.5-VL reads the caption, behind the instruction of its pipeline; ByT5 what stands in quotation
marks, letter by letter. A text has the rows of both, and a last channel says whose a row is.

Axes: B captions, L tokens, D channels.
"""

from typing import Any

import torch
from torch import Tensor

from opensora.config.registry import MODELS
from opensora.config.text_types import SECOND_PARTS
from opensora.core.errors import ConfigError
from opensora.models.device import parse_dtype
from opensora.models.text_encoder.base import OpenTextEncoder
from opensora.models.text_encoder.vocabulary import load_tokenizer
from opensora.models.weights.folders import resolve_folder, weights_sha256
from opensora.models.weights.pretrained import load_network

QUOTED = 256  # tokens of what stands in quotation marks


@MODELS.register_module("qwen-hunyuan")
class HunyuanTextEncoder(OpenTextEncoder):
    """Clean captions to one embedding per token of the caption and per letter of its quotations.

    Args:
        from_pretrained: folder of a pipeline of diffusers, with `text_encoder/`, `tokenizer/`,
            `text_encoder_2/` and `tokenizer_2/`, or a hub name.
        model_max_length: L, of which 256 are left for quotations; longer captions are cut.
        dtype: type of the weights, a torch type or "fp32", "bf16", "fp16".
        device: where the encoder runs.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.
        ConfigError: L leaves nothing for the caption.

    Source: Bai et al. 2025, arXiv:2502.13923; Xue et al. 2022, arXiv:2105.13626 (ByT5).
    """

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 1000 + QUOTED,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        from diffusers import HunyuanVideo15Pipeline  # takes seconds, see t5.py
        from transformers import Qwen2_5_VLTextModel, T5EncoderModel

        if model_max_length <= QUOTED:
            raise ConfigError(
                f"qwen-hunyuan: model_max_length is {model_max_length} and {QUOTED} of it are for"
                f" quotations; give more, HunyuanVideo 1.5 reads {1000 + QUOTED}"
            )
        super().__init__(
            "qwen-hunyuan", from_pretrained, model_max_length, cache_dir, local_files_only
        )
        options: Any = {"cache_dir": cache_dir, "local_files_only": local_files_only}
        second, tokenizer = (
            resolve_folder(from_pretrained, kind=self.kind, part=part, **options)
            for part in SECOND_PARTS[self.kind]
        )
        load, plain = T5EncoderModel.from_pretrained, parse_dtype(dtype)
        self.network = self.load_network(Qwen2_5_VLTextModel.from_pretrained, plain).to(device)
        self.second = load_network(load, second, kind=self.kind, dtype=plain).to(device)
        self.second_folder = second
        self.second_tokenizer = load_tokenizer(tokenizer, kind=f"{self.kind} tokenizer")
        self.output_dim = max(self.network.config.hidden_size, self.second.config.d_model) + 1
        self._read: Any = HunyuanVideo15Pipeline

    @torch.no_grad()
    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Embed B clean captions.

        Returns:
            `y` [B, 1, L, D] in the encoder's type, first the rows of Qwen, then those of ByT5,
            whose last channel is 1, then zeros; and `mask` [B, L] int64, 1 = row of either.
        """
        device, length = self.network.device, self.model_max_length
        words = self._read._get_mllm_prompt_embeds(
            *(self.network, self.tokenizer, text, device), tokenizer_max_length=length - QUOTED
        )
        quoted = self._read._get_byt5_prompt_embeds(
            *(self.second_tokenizer, self.second, text, device), tokenizer_max_length=QUOTED
        )
        y = words[0].new_zeros(len(text), length, self.output_dim)
        mask = torch.zeros(len(text), length, dtype=torch.int64, device=device)
        for row, (place, own, its) in enumerate(zip(y, _rows(*words), _rows(*quoted), strict=True)):
            both = len(own) + len(its)
            place[: len(own), : own.shape[1]] = own
            place[len(own) : both, : its.shape[1]] = its
            place[len(own) : both, -1] = 1
            mask[row, :both] = 1
        return {"y": y[:, None], "mask": mask}

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "HunyuanTextEncoder":
        """Move the weights of both."""
        super().to(device, dtype)
        self.second.to(device=self.network.device, dtype=self.network.dtype)
        return self

    def identity(self) -> dict[str, Any]:
        """As of every text encoder, with the weights of both."""
        return {**super().identity(), "second_weights": weights_sha256(self.second_folder)}


def _rows(embeddings: Tensor, mask: Tensor) -> list[Tensor]:
    """Of each text the rows that are tokens."""
    return [row[kept.bool()] for row, kept in zip(embeddings, mask, strict=True)]
