"""Gemma 3 and the connector behind it, as LTX-2 reads captions with.

Axes: B captions, L tokens, D channels.
"""

from typing import Any

import torch
from torch import Tensor

from opensora.config.registry import MODELS
from opensora.config.text_types import SECOND_PARTS
from opensora.core.errors import CheckpointError, ConfigError
from opensora.models.device import parse_dtype
from opensora.models.text_encoder.base import OpenTextEncoder
from opensora.models.weights.folders import resolve_folder, weights_sha256
from opensora.models.weights.pretrained import load_network


@MODELS.register_module("gemma-ltx2")
class LTX2TextEncoder(OpenTextEncoder):
    """Clean captions to L embeddings each: of all layers of Gemma 3, put in order by a connector.

    The connector puts registers, which it has learned, in the place of padding, so that all L are
    read by the transformer.

    Args:
        from_pretrained: folder of a pipeline of diffusers, with `text_encoder/`, `tokenizer/` and
            `connectors/`, or a hub name.
        model_max_length: L, a multiple of the number of registers; longer captions are cut.
        dtype: type of the weights, a torch type or "fp32", "bf16", "fp16".
        device: where the encoder runs.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.
        ConfigError: L is no multiple of the number of registers.

    Source: Gemma Team 2025, arXiv:2503.19786; HaCohen et al. 2026, arXiv:2601.03233.
    """

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 1024,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        from diffusers.pipelines.ltx2 import LTX2TextConnectors  # takes seconds, see t5.py
        from transformers import Gemma3Model

        super().__init__(
            "gemma-ltx2", from_pretrained, model_max_length, cache_dir, local_files_only
        )
        options: Any = {"cache_dir": cache_dir, "local_files_only": local_files_only}
        part = SECOND_PARTS[self.kind][0]
        self.second_folder = resolve_folder(from_pretrained, kind=self.kind, part=part, **options)
        if self.second_folder == self.folder:
            raise CheckpointError(
                f"{self.kind}: {from_pretrained} has no {part}/, which stand between Gemma and the"
                " transformer; give the folder of a whole pipeline"
            )
        plain = parse_dtype(dtype)
        self.network = self.load_network(Gemma3Model.from_pretrained, plain).to(device)
        load = LTX2TextConnectors.from_pretrained
        self.second = load_network(load, self.second_folder, kind=self.kind, torch_dtype=plain)
        self.second.to(device)
        registers = self.second.config.video_connector_num_learnable_registers
        if registers and model_max_length % registers:
            raise ConfigError(
                f"{self.kind}: model_max_length is {model_max_length}; expected a multiple of the"
                f" {registers} registers of its connector, LTX-2 reads 1024"
            )
        self.output_dim = int(self.second.video_connector.inner_dim)
        self.tokenizer.padding_side = "left"  # as its pipeline
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    @torch.no_grad()
    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Embed B clean captions.

        Returns:
            `y` [B, 1, L, D] in the encoder's type, first a caption's tokens and then registers, and
            `mask` [B, L] int64, which is 1 everywhere but without registers.
        """
        ids, mask = self.tokenize(text)
        states = self.network(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        layers = torch.stack(states.hidden_states, dim=-1).flatten(2, 3)  # [B, L, D of all layers]
        y, _, used = self.second(layers.to(self.network.dtype), mask, padding_side="left")
        return {"y": y[:, None], "mask": used.to(torch.int64)}

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "LTX2TextEncoder":
        """Move the weights of both."""
        super().to(device, dtype)
        self.second.to(device=self.network.device, dtype=self.network.dtype)
        return self

    def identity(self) -> dict[str, Any]:
        """As of every text encoder, with the weights of the connector."""
        return {**super().identity(), "second_weights": weights_sha256(self.second_folder)}
