"""T5 as a frozen text encoder.

Axes: B captions, L tokens, D channels.
"""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensora.config.registry import MODELS
from opensora.models.device import parse_dtype
from opensora.models.text_encoder.base import TextEncoder

log = logging.getLogger(__name__)


@MODELS.register_module("t5")
class T5Encoder(TextEncoder):
    """Clean captions to one embedding per token.

    Args:
        from_pretrained: folder in the transformers format, or a hub name. A folder whose
            tokenizer_config.json names ByT5Tokenizer is read byte by byte; one without
            tokenizer.json by its spiece.model, as DeepFloyd/t5-v1_1-xxl.
        model_max_length: L; longer captions are cut.
        dtype: type of the weights, a torch type or "fp32", "bf16", "fp16".
        device: where the encoder runs.
        shardformer: on CUDA, compute the RMS norms by torch's function (see `fuse_norms`); no
            layer is split. On a CPU it changes nothing, which one log line says: configs are
            shared by both.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.

    Source: Raffel et al. 2020, arXiv:1910.10683; Xue et al. 2022, arXiv:2105.13626 (ByT5).
    """

    any_length = True  # a caption's tokens do not depend on how far it is padded, up to rounding

    def __init__(
        self,
        from_pretrained: str,
        model_max_length: int = 120,
        dtype: str | torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        shardformer: bool = False,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        # The registry imports this module for every model, and transformers takes seconds.
        from transformers import T5EncoderModel

        super().__init__("t5", from_pretrained, model_max_length, cache_dir, local_files_only)
        network = self.load_network(T5EncoderModel.from_pretrained, parse_dtype(dtype))
        self.network = network.to(device)
        self.output_dim = int(self.network.config.d_model)
        if shardformer and torch.device(device).type == "cuda":
            log.info("t5 shardformer=true fused_norms=%d", fuse_norms(self.network))
        elif shardformer:
            log.info("t5 shardformer=true has no effect on device=%s", device)

    @torch.no_grad()
    def encode(self, text: list[str], length: int | None = None) -> dict[str, Tensor]:
        """Embed B clean captions.

        Args:
            text: captions.
            length: L; longer ones are cut; None = `model_max_length`.

        Returns:
            `y` [B, 1, L, D] in the encoder's type and `mask` [B, L] int64, 1 = token; both on
            the encoder's device.
        """
        ids, mask = self.tokenize(text, length)
        y = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        return {"y": y[:, None], "mask": mask}


class FusedNorm(nn.Module):
    """The RMS norm of T5 by torch's own function, with the weight of the norm it replaces.

    Args:
        weight: [D] of the norm it replaces.
        eps: added to the mean square.
    """

    def __init__(self, weight: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight = weight
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [..., D]; half-precision weights make a half-precision result."""
        weight = self.weight.to(x.dtype)
        y = F.rms_norm(x, weight.shape, weight, self.eps)
        return y if self.weight.dtype == torch.float32 else y.to(self.weight.dtype)


def fuse_norms(network: nn.Module) -> int:
    """Replace every norm of a T5 by `FusedNorm`; returns how many.

    Outputs agree to round-off. The reference's ShardFormer also runs T5 whole on one device, but
    replaces other operations: it fuses dropout with the residual sum.
    """
    from transformers.models.t5.modeling_t5 import T5LayerNorm  # takes seconds

    places = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, T5LayerNorm)
    ]
    for parent, name, norm in places:
        setattr(parent, name, FusedNorm(norm.weight, norm.variance_epsilon))
    return len(places)
