"""What the frozen text encoders of transformers share.

Axes: B captions, L tokens, D channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opensora.config.text_types import TEXT_PARTS
from opensora.core.errors import CheckpointError
from opensora.core.io import read_json_object
from opensora.models.layers.embeddings import CaptionEmbedder
from opensora.models.text_encoder.vocabulary import check_fit, load_tokenizer
from opensora.models.weights.folders import resolve_folder, weights_sha256
from opensora.models.weights.pretrained import load_network


class TextEncoder:
    """A tokenizer and a frozen network from one folder; subclasses load the network and encode.

    Attributes:
        output_dim: D.
        model_max_length: L; longer captions are cut.
        y_embedder: set by the sampler to the model's, whose null caption `null` returns.

    Args:
        kind: registered name.
        from_pretrained: folder in the transformers format, or of a pipeline of diffusers, or a hub
            name.
        model_max_length: L.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.
    """

    network: Any
    output_dim: int

    def __init__(
        self,
        kind: str,
        from_pretrained: str,
        model_max_length: int,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        self.kind = kind
        options: Any = {"cache_dir": cache_dir, "local_files_only": local_files_only}
        self.folder, self.tokenizer_folder = (
            resolve_folder(from_pretrained, kind=kind, part=part, **options) for part in TEXT_PARTS
        )
        self.model_max_length = model_max_length
        self.y_embedder: nn.Module | None = None
        self.tokenizer: Any = self.load_tokenizer(self.tokenizer_folder)

    def load_tokenizer(self, folder: Path) -> Any:
        """The tokenizer of a folder.

        Raises:
            CheckpointError: the folder has none, or one without words.
        """
        return load_tokenizer(folder, kind=f"{self.kind} tokenizer")

    def load_network(self, load: Callable[..., Any], dtype: torch.dtype) -> Any:
        """The frozen network of the folder, with an embedding for every token.

        Args:
            load: the `from_pretrained` of its class in transformers.
            dtype: of the weights.

        Raises:
            CheckpointError: weights are missing, or the tokenizer or the folder is that of another
                model.
        """
        network = load_network(load, self.folder, kind=self.kind, dtype=dtype)
        # transformers reads a UMT5 as a T5, with a warning, and leaves out the positions of all
        # layers but the first
        said = read_json_object(self.folder / "config.json").get("model_type")
        if said == "umt5" and self.kind != said:
            raise CheckpointError(
                f"{self.folder}: holds a UMT5, which has other layers than a {self.kind} reads; use"
                " type umt5, or another folder"
            )
        rows = network.get_input_embeddings().num_embeddings
        check_fit(self.tokenizer, rows, self.tokenizer_folder, kind=self.kind)
        return network

    def tokenize(self, text: list[str], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Ids and mask, both [B, L] int64, on the encoder's device; L is model_max_length or given.

        Longer texts are cut to L, shorter ones padded.
        """
        tokens = self.tokenizer(
            text,
            max_length=length or self.model_max_length,
            padding="max_length",
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.network.device)
        return tokens["input_ids"], tokens["attention_mask"]

    def whole_ids(self, text: list[str]) -> list[list[int]]:
        """The ids of B texts, none cut or padded, with the marks at their ends."""
        ids: list[list[int]] = self.tokenizer(text, verbose=False)["input_ids"]
        return ids

    def null(self, n: int) -> dict[str, Tensor]:
        """The model's null caption for n samples: `y` [n, 1, L, D], no longer than captions are."""
        if not isinstance(self.y_embedder, CaptionEmbedder):
            raise ValueError("set text_encoder.y_embedder = model.y_embedder before sampling")
        null = self.y_embedder.y_embedding[: self.model_max_length]
        return {"y": null[None, None].repeat(n, 1, 1, 1)}

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "TextEncoder":
        """Move the weights."""
        self.network.to(device=device or self.network.device, dtype=dtype or self.network.dtype)
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the embeddings: stored with them, compared before they are used."""
        return {
            "type": self.kind,
            "weights": weights_sha256(self.folder),
            "tokenizer": type(self.tokenizer).__name__,
            "output_dim": self.output_dim,
        }


class OpenTextEncoder(TextEncoder, ABC):
    """Base of those that open models read with: the empty text stands for "no prompt"."""

    @abstractmethod
    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Embed B clean captions: `y` [B, 1, L, D], and `mask` [B, L] where not all L are text."""

    def null(self, n: int) -> dict[str, Tensor]:
        """What `encode` makes of an empty text, n times."""
        encoded = self.encode([""])
        return {name: value.repeat_interleave(n, 0) for name, value in encoded.items()}
