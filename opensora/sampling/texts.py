"""Prompts to embeddings: each text alone, once."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from opensora.models.text_encoder import ClassEncoder

_KEPT = 64  # texts; at 120 tokens of 4,096 channels 126 MB


class PromptTexts:
    """A text encoder that encodes each text by itself and keeps the last ones.

    So an embedding depends on no other text of a batch, and samples of one prompt share it.

    Args:
        encoder: gives `encode` and `null`.
    """

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._found: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def encode(self, prompts: list[str]) -> dict[str, Tensor]:
        """Embeddings of B clean prompts, as the encoder gives them."""
        if isinstance(self._encoder, ClassEncoder):
            return self._encoder.encode(prompts)
        rows = [self._one(text) for text in prompts]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def null(self, n: int) -> dict[str, Tensor]:
        """The conditions of "no prompt" n times."""
        null: dict[str, Tensor] = self._encoder.null(n)
        return null

    def _one(self, text: str) -> dict[str, Tensor]:
        if text not in self._found:
            self._found[text] = self._encoder.encode([text])
            if len(self._found) > _KEPT:
                self._found.popitem(last=False)
        self._found.move_to_end(text)
        return self._found[text]
