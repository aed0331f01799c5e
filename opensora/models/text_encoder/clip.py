"""The text half of CLIP as a frozen encoder: one vector per caption.

Axes: B captions, L tokens, D channels.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensora.config.registry import MODELS
from opensora.core.errors import ConfigError
from opensora.models.device import parse_dtype
from opensora.models.text_encoder.base import TextEncoder

_TRANSFORMERS_CONFIG = "config.json"
_OPEN_CLIP_CONFIG = "open_clip_config.json"


@MODELS.register_module("clip")
class ClipTextEncoder(TextEncoder):
    """Clean captions to one pooled embedding each, before CLIP's projection.

    Args:
        from_pretrained: folder in the format of transformers or of open_clip, or a hub name. A
            folder with both is read by transformers.
        model_max_length: longer captions are cut.
        dtype: type of the weights, a torch type or "fp32", "bf16", "fp16".
        device: where the encoder runs.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.
        ConfigError: model_max_length is longer than the network reads.

    Source: Radford et al. 2021, arXiv:2103.00020.
    """

    num_tokens = 1  # of an embedding, whatever the length of the text

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 77,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        super().__init__("clip", from_pretrained, model_max_length, cache_dir, local_files_only)
        # The registry imports this module for every model, and transformers takes seconds.
        from transformers import CLIPTextModel

        if _is_open_clip(self.folder):
            network = _load_open_clip(self.folder, parse_dtype(dtype))
        else:
            network = self.load_network(CLIPTextModel.from_pretrained, parse_dtype(dtype))
        self.network = network.to(device)
        config = self.network.config
        if not 2 <= model_max_length <= config.max_position_embeddings:
            raise ConfigError(
                f"clip: model_max_length is {model_max_length}, {self.folder} reads 2 to"
                f" {config.max_position_embeddings} tokens; set model_max_length to that"
            )
        self.output_dim = int(config.hidden_size)

    def load_tokenizer(self, folder: Path) -> Any:
        """That of transformers or of open_clip, as the folder."""
        if not _is_open_clip(folder):
            return super().load_tokenizer(folder)
        from open_clip import SimpleTokenizer  # takes seconds, see t5.py

        return SimpleTokenizer()

    def tokenize(self, text: list[str], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Ids and mask as the other encoders give them; see `TextEncoder`."""
        if not _is_open_clip(self.folder):
            return super().tokenize(text, length)
        size = length or self.model_max_length
        ids = self.tokenizer(text, context_length=size).to(self.network.device)
        ends = ids.argmax(dim=1, keepdim=True)  # the end of the text has the highest id
        return ids, (torch.arange(ids.shape[1], device=ids.device) <= ends).long()

    def whole_ids(self, text: list[str]) -> list[list[int]]:
        """The ids of B texts, none cut or padded, with the marks at their ends."""
        if not _is_open_clip(self.folder):
            return super().whole_ids(text)
        begin, end = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        return [[begin, *self.tokenizer.encode(entry), end] for entry in text]

    @torch.no_grad()
    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Embed B clean captions: `y` [B, 1, 1, D] in the encoder's type."""
        ids, mask = self.tokenize(text)
        pooled = self.network(input_ids=ids, attention_mask=mask).pooler_output
        return {"y": pooled[:, None, None]}


class _OpenClipText(nn.Module):
    """The text half of an open_clip network, called as transformers' CLIPTextModel is."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        length, width = clip.positional_embedding.shape
        self.config = SimpleNamespace(hidden_size=width, max_position_embeddings=length)
        del clip.visual
        clip.text_projection = None  # pooled before the projection, as transformers does
        self.clip = clip

    @property
    def device(self) -> torch.device:
        return self.clip.positional_embedding.device

    @property
    def dtype(self) -> torch.dtype:
        return self.clip.positional_embedding.dtype

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """Pool ids [B, L]; what comes after the end of the text is not looked at."""
        padding = self.config.max_position_embeddings - input_ids.shape[1]
        pooled = self.clip.encode_text(F.pad(input_ids, (0, padding)))  # [B, D]
        return SimpleNamespace(pooler_output=pooled)


def _is_open_clip(folder: Path) -> bool:
    return not (folder / _TRANSFORMERS_CONFIG).is_file() and (folder / _OPEN_CLIP_CONFIG).is_file()


def _load_open_clip(folder: Path, dtype: torch.dtype) -> Any:
    # imports open_clip, which takes seconds
    from opensora.models.clip_model import check_own_text_tower, load_clip

    check_own_text_tower(folder)
    return _OpenClipText(load_clip(folder).network).to(dtype)
