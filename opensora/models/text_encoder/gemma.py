"""Gemma 2 as SANA-Video reads captions with: behind an instruction, whose tokens are dropped.

Axes: B captions, L tokens, D channels.
"""

import inspect

import torch
from torch import Tensor

from opensora.config.registry import MODELS
from opensora.models.device import parse_dtype
from opensora.models.text_encoder.base import OpenTextEncoder


@MODELS.register_module("gemma-sana")
class GemmaTextEncoder(OpenTextEncoder):
    """Clean captions to one embedding per token; each token has read the instruction.

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

    Source: Gemma Team 2024, arXiv:2408.00118; Xie et al. 2024, arXiv:2410.10629, section 3.1.
    """

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 300,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        from diffusers import SanaVideoPipeline  # takes seconds, see t5.py
        from transformers import Gemma2Model

        super().__init__(
            "gemma-sana", from_pretrained, model_max_length, cache_dir, local_files_only
        )
        network = self.load_network(Gemma2Model.from_pretrained, parse_dtype(dtype))
        self.network = network.to(device)
        self.output_dim = int(self.network.config.hidden_size)
        self.tokenizer.padding_side = "right"
        # that which the pipeline puts before a prompt where nobody says otherwise
        given = inspect.signature(SanaVideoPipeline.__call__).parameters
        self.instruction = "\n".join(given["complex_human_instruction"].default)

    @torch.no_grad()
    def encode(self, text: list[str]) -> dict[str, Tensor]:
        """Embed B clean captions.

        Returns:
            `y` [B, 1, L, D] in the encoder's type and `mask` [B, L] int64, 1 = token: the first
            token of the instruction, its last one, and the caption's.
        """
        before = len(self.tokenizer.encode(self.instruction))
        length = before + self.model_max_length - 2
        ids, mask = self.tokenize([self.instruction + one for one in text], length)
        y = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = [0, *range(length - self.model_max_length + 1, length)]
        return {"y": y[:, None, kept], "mask": mask[:, kept]}

    @torch.no_grad()
    def null(self, n: int) -> dict[str, Tensor]:
        """An empty text without an instruction, n times."""
        ids, mask = self.tokenize([""])
        y = self.network(input_ids=ids, attention_mask=mask).last_hidden_state[:, None]
        return {"y": y.repeat_interleave(n, 0), "mask": mask.repeat_interleave(n, 0)}
